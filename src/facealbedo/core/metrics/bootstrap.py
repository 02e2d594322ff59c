"""How sure a mean is: percentile bootstrap over people, not photos (photos of one person are not independent)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facealbedo.core.metrics.masks import EvaluationError

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Interval:
    """A statistic with the bounds of its confidence interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def bootstrap_mean(
    values: Sequence[float] | Float[np.ndarray, "sample"],
    people: Sequence[str],
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean over people of each person's mean, with its interval.

    Args:
        values: a number a photo.
        people: whose photo it is.
        draws: resamples of the people.
        confidence: of the interval.
        seed: of the resampling.

    Raises:
        EvaluationError: no values, or a value that is not finite.
    """
    means = person_means(values, people)
    resampled = _resample(len(means), draws, seed)
    return _interval(means[resampled].mean(1), float(means.mean()), confidence)


def bootstrap_groups(
    values_by_group: Sequence[Float[np.ndarray, "person"]],
    statistic: Statistic,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a statistic of the group means (worst, spread ...), people resampled within their groups.

    Raises:
        EvaluationError: a group is empty.
    """
    columns = []
    for number, values in enumerate(values_by_group):
        if len(values) == 0:
            raise EvaluationError(f"group {number + 1} of {len(values_by_group)} is empty")
        columns.append(np.asarray(values)[_resample(len(values), draws, seed + number)].mean(1))
    observed = statistic(np.array([np.mean(values) for values in values_by_group]))
    drawn = np.array([statistic(row) for row in np.stack(columns, axis=1)])
    return _interval(drawn, float(observed), confidence)


def person_means(values: Sequence[float] | Float[np.ndarray, "sample"], people: Sequence[str]) -> np.ndarray:
    """Return the mean of each person's values, people in the order of their names.

    Raises:
        EvaluationError: no values, different lengths, or a value that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(people):
        raise EvaluationError(f"one value a photo is needed, got {len(numbers)} values of {len(people)} photos")
    if not np.isfinite(numbers).all():
        raise EvaluationError(f"{int((~np.isfinite(numbers)).sum())} of {len(numbers)} values are not finite")
    names, index = np.unique(np.asarray(people), return_inverse=True)
    return np.bincount(index, weights=numbers, minlength=len(names)) / np.bincount(index, minlength=len(names))


def _resample(count: int, draws: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, (draws, count))


def _interval(drawn: np.ndarray, value: float, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
