"""The whole FAIR table of a set of albedo maps: tone errors, MAE, colour differences, with intervals.

The benchmark's data are licensed to each user and not part of this project; whoever has them brings them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import ITA_GROUPS, ita_group, linear_to_srgb
from facealbedo.core.metrics.albedo import albedo_errors
from facealbedo.core.metrics.bootstrap import bootstrap_mean
from facealbedo.core.metrics.masks import EvaluationError, masked_mean
from facealbedo.core.metrics.tone import tone_errors
from facealbedo.core.metrics.transfer import check_linear


@dataclass(frozen=True)
class FairCase:
    """One crop: predicted and true linear albedo, and the skin that counts; all of one size.

    ``person`` groups the crops of a person for the intervals.
    """

    name: str
    person: str
    predicted: Float[Tensor, "1 3 height width"]
    truth: Float[Tensor, "1 3 height width"]
    skin: Float[Tensor, "1 1 height width"]


def score_fair(cases: Sequence[FairCase]) -> dict[str, Any]:
    """Return raw and scale-aligned numbers.

    Raises:
        EvaluationError: no cases, colours that are sRGB codes, or an ITA group without a face.
    """
    if not cases:
        raise EvaluationError("the FAIR scorer got no cases")
    for what in ("truth", "predicted"):
        colours = torch.cat([masked_mean(getattr(case, what), case.skin) for case in cases])
        check_linear(colours, f"FAIR, {what}")
    rows = [_row(case) for case in cases]
    people = [case.person for case in cases]
    true_ita = torch.tensor([row["ita_true"] for row in rows])
    counts = torch.bincount(ita_group(true_ita), minlength=len(ITA_GROUPS)).tolist()
    empty = [group.name for group, count in zip(ITA_GROUPS, counts, strict=True) if count == 0]
    if empty:
        raise EvaluationError(f"no face of ITA group {', '.join(empty)} among the {len(cases)} cases")
    sizes = {group.name: count for group, count in zip(ITA_GROUPS, counts, strict=True)}
    result: dict[str, Any] = {"cases": len(cases), "group_sizes": sizes}
    for name, key in (("raw", "ita"), ("aligned", "ita_aligned")):
        errors = tone_errors(torch.tensor([row[key] for row in rows]), true_ita)
        result[name] = errors.as_dict()
    measured = ("mae_255", "delta_e", "delta_e_aligned", "relative_l1", "relative_l1_aligned", "ita_error")
    result["mean"] = {name: bootstrap_mean([row[name] for row in rows], people).as_dict() for name in measured}
    return result


def _row(case: FairCase) -> dict[str, float]:
    errors = albedo_errors(case.predicted, case.truth, case.skin, case.skin).row(0)
    codes = [255 * linear_to_srgb(albedo.clamp(0, 1)) for albedo in (case.predicted, case.truth)]
    return errors | {"mae_255": float(masked_mean((codes[0] - codes[1]).abs(), case.skin).mean())}
