"""From rows (a dictionary a photo and method) to tables with confidence intervals, groups kept apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.metrics.bootstrap import Interval, bootstrap_groups, bootstrap_mean, person_means
from facealbedo.core.metrics.masks import EvaluationError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A column of a table: its label, whether smaller is better (None: neither), and decimals."""

    label: str
    smaller_is_better: bool | None = True
    decimals: int = 2


METRICS: Mapping[str, Metric] = {
    "delta_e_aligned": Metric("ΔE2000, one scale"),
    "delta_e": Metric("ΔE2000"),
    "relative_l1_aligned": Metric("rel. L1, one scale", decimals=3),
    "relative_l1": Metric("rel. L1", decimals=3),
    "delta_e_seen": Metric("ΔE2000 seen, one scale"),
    "delta_e_unseen": Metric("ΔE2000 unseen, one scale"),
    "ita_error": Metric("ITA error, °"),
    "ita_error_aligned": Metric("ITA error, one scale, °"),
    "relight_psnr": Metric("relight PSNR, dB", smaller_is_better=False),
    "relight_psnr_aligned": Metric("relight PSNR, one scale, dB", smaller_is_better=False),
    "relight_ssim": Metric("relight SSIM", smaller_is_better=False, decimals=3),
    "relight_l1": Metric("relight L1", decimals=3),
    "light_correlation": Metric("|corr| with light", decimals=3),
    "left_right_error": Metric("left-right error, 0-255"),
    "bs_error": Metric("BS error, 0-255"),
    "marks_kept": Metric("marks kept (1: all)", smaller_is_better=None),
    "feature_detail_true": Metric("true brow/lip detail kept (1: all)", smaller_is_better=None),
    "feature_detail_correlation": Metric("corr of brow/lip detail with truth", smaller_is_better=False),
    "skin_detail_true": Metric("true skin detail kept (1: all)", smaller_is_better=None),
    "skin_detail_correlation": Metric("corr of skin detail with truth", smaller_is_better=False),
    "skin_detail_kept": Metric("photo's skin detail kept", smaller_is_better=None),
    "feature_detail_kept": Metric("photo's brow/lip detail kept", smaller_is_better=None),
    "light_correlation_of_truth": Metric("|corr| of the true albedo with light", None, 3),
    "skin_detail_kept_of_truth": Metric("photo's skin detail in the true albedo", None),
    "feature_detail_kept_of_truth": Metric("photo's brow/lip detail in the true albedo", None),
    "l1": Metric("L1", decimals=3),
    "psnr": Metric("PSNR, dB", smaller_is_better=False),
    "ssim": Metric("SSIM", smaller_is_better=False, decimals=3),
    "lpips": Metric("LPIPS", decimals=3),
    "identity_cosine": Metric("identity cosine", smaller_is_better=False, decimals=3),
    "vertex_mean_mm": Metric("vertex mean, mm"),
    "vertex_median_mm": Metric("vertex median, mm"),
    "vertex_p90_mm": Metric("vertex 90th percentile, mm"),
    "mae_255": Metric("MAE, 0-255"),
    "spread": Metric("spread over lights, ΔE2000"),
    "spread_one_colour": Metric("the same in one colour"),
    "relative_spread": Metric("spread over lights / over people", decimals=3),
}


def summarise(rows: Sequence[Row], by_group: bool) -> dict[str, Any]:
    """Return ``{metric: interval}`` over people and, if asked, each ITA group's mean and the FAIR numbers.

    A metric that some rows lack (marks, of people without any) is averaged over those that have it, and has no means by
    group.

    Args:
        rows: of one method, one a photo.
        by_group: whether rows have a ``group`` that all six occur in.

    Raises:
        EvaluationError: no rows, an empty group, or a value that is not finite.
    """
    if not rows:
        raise EvaluationError("there is nothing to summarise: no photo was measured")
    having = {name: [row for row in rows if name in row] for name in METRICS}
    means = {name: _mean(chosen, name) for name, chosen in having.items() if chosen}
    if not by_group:
        return {"mean": means}
    groups = {name: group_means(rows, name) for name, chosen in having.items() if len(chosen) == len(rows)}
    return {"mean": means, "groups": groups, "tone": tone_intervals(rows)}


def _mean(rows: Sequence[Row], metric: str) -> dict[str, float]:
    return bootstrap_mean([row[metric] for row in rows], [str(row["person"]) for row in rows]).as_dict()


def group_means(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """Return the mean of a metric over the people of each group.

    Raises:
        EvaluationError: an empty group.
    """
    return {name: float(np.mean(values)) for name, values in _values_by_group(rows, metric).items()}


def tone_intervals(rows: Sequence[Row], metric: str = "ita_error") -> dict[str, dict[str, float]]:
    """Return average, bias, score and worst group of ITA errors (see `core.metrics.tone`) with intervals."""
    values = list(_values_by_group(rows, metric).values())
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "average": lambda means: float(means.mean()),
        "bias": lambda means: float(means.std(ddof=1)),
        "score": lambda means: float(means.mean() + means.std(ddof=1)),
        "worst_group": lambda means: float(means.max()),
    }
    return {name: bootstrap_groups(values, function).as_dict() for name, function in statistics.items()}


def _values_by_group(rows: Sequence[Row], metric: str) -> dict[str, np.ndarray]:
    """Return each person's mean, a group each, in the order of the groups."""
    result = {}
    for group in ITA_GROUPS:
        chosen = [row for row in rows if row["group"] == group.name]
        if not chosen:
            raise EvaluationError(
                f"no face of ITA group {group.name} ({group.label}) was measured; an average over fewer groups would "
                "be another number"
            )
        result[group.name] = person_means([row[metric] for row in chosen], [str(row["person"]) for row in chosen])
    return result


def select(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """Return the measured rows with these values."""
    return [
        row
        for row in rows
        if row.get("status") == "done" and all(row.get(name) == value for name, value in wanted.items())
    ]


def paired_difference(rows: Sequence[Row], first: str, second: str, metric: str) -> Interval:
    """Return the mean over people of first minus second method's metric, photo by photo, with its interval.

    Raises:
        EvaluationError: the methods were not measured on the same photos.
    """
    keyed = {
        name: {(row["person"], row["photo"]): row[metric] for row in rows if row["method"] == name}
        for name in (first, second)
    }
    if not keyed[first] or keyed[first].keys() != keyed[second].keys():
        raise EvaluationError(f"{first} and {second} were not measured on the same photos")
    keys = sorted(keyed[first])
    differences = [keyed[first][key] - keyed[second][key] for key in keys]
    return bootstrap_mean(differences, [str(person) for person, _ in keys])
