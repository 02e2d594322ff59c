"""Error of skin tone by group, as the FAIR benchmark counts it.

Feng et al., "Towards Racially Unbiased Skin Tone Estimation via Scene Disambiguation", ECCV 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import ITA_GROUPS, ita_group


@dataclass(frozen=True)
class ToneErrors:
    """Errors in degrees of ITA.

    Attributes:
        group_errors: mean absolute error of each of the six groups, very light to dark.
        average: plain mean of the six.
        bias: their sample standard deviation (ddof 1).
    """

    group_errors: tuple[float, ...]
    average: float
    bias: float

    @property
    def score(self) -> float:
        """Average plus bias."""
        return self.average + self.bias

    def as_dict(self) -> dict[str, float]:
        """Return the numbers under flat names."""
        groups = {f"ita_error_{group.name}": error for group, error in zip(ITA_GROUPS, self.group_errors, strict=True)}
        return groups | {"ita_error_average": self.average, "ita_error_bias": self.bias, "ita_error_score": self.score}


def tone_errors(predicted_ita: Float[Tensor, "face"], true_ita: Float[Tensor, "face"]) -> ToneErrors:
    """Return the error by ITA group of the truth.

    Raises:
        ValueError: a group without faces; an average over fewer groups would be another number.
    """
    groups = ita_group(true_ita)
    errors = (predicted_ita - true_ita).abs().double()
    means = []
    for index, group in enumerate(ITA_GROUPS):
        chosen = errors[groups == index]
        if len(chosen) == 0:
            raise ValueError(f"no face of ITA group {group.name} ({group.label}); the benchmark needs all six groups")
        means.append(float(chosen.mean()))
    values = torch.tensor(means, dtype=torch.float64)
    return ToneErrors(tuple(means), float(values.mean()), float(values.std(correction=1)))
