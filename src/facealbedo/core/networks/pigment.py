"""What of a photo's detail is pigment: shading moves all of a face's colours along one line, pigment does not.

In ideal light that line is grey, (1, 1, 1) in log colour. In developed photos it is not: tone curves make shadows more
saturated, highlights whiten skin, light scattered under the skin reddens folds. Nearly all fine detail of bare skin is
shading, so the line is the principal axis of a face's own detail (the idea of Tsumura et al. 2003, "Image-based skin
color and texture analysis/synthesis", with the axis of shading measured instead of assumed).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Detail is what is finer than this part of the atlas.
DETAIL_SHARE = 1 / 10
# Strength with which the axis is drawn to grey, as a variance of log colour: faces without detail have no axis.
GREY_VARIANCE = 1e-3
# Side of the maps at which low passes are made.
LOW_PASS_PX = 256


@dataclass(frozen=True)
class ShadingShares:
    """How much of the detail along the line of shading counts as pigment too: hair, stubble and pores lie on it.

    Darker detail on skin may be a pore or a wrinkle, on brows and lips it is hair and seams; brighter detail is nearly
    always a highlight.
    """

    darker_skin: float = 0.35
    brighter_skin: float = 0.10
    darker_features: float = 1.0
    brighter_features: float = 0.3


def pigment_detail(
    log_ratio: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    skin: Float[Tensor, "skin_batch 1 height width"],
    features: Float[Tensor, "feature_batch 1 height width"],
    shares: ShadingShares | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Return the part of the detail of log(texture / (shading x prior)) that is taken for pigment.

    Args:
        log_ratio: of each texel; only its detail is looked at.
        trust: of each texel.
        skin: bare skin, where the line of shading is measured.
        features: 1 on brows and lips.
        shares: of the detail along that line.
    """
    kept = shares or ShadingShares()
    detail = fine_part(log_ratio, trust)
    axis = shading_axis(detail, trust * skin)[:, :, None, None]
    along = (detail * axis).sum(1, keepdim=True)
    darker = kept.darker_skin + (kept.darker_features - kept.darker_skin) * features
    brighter = kept.brighter_skin + (kept.brighter_features - kept.brighter_skin) * features
    return detail - axis * along + torch.where(along < 0, darker, brighter) * axis * along


def fine_part(values: Float[Tensor, "batch 3 height width"], trust: Float[Tensor, "batch 1 height width"]) -> Tensor:
    """Return values less their low pass over trusted texels; 0 where nothing is trusted."""
    return (values - coarse_part(values, trust)) * (trust > 0.05)


def coarse_part(
    values: Float[Tensor, "batch 3 height width"], trust: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch 3 height width"]:
    """Return the low pass of values over trusted texels; large maps are filtered at a lower resolution."""
    factor = max(values.shape[-1] // LOW_PASS_PX, 1)
    weighted, weight = values * trust, trust
    if factor > 1:
        weighted, weight = (torch.nn.functional.avg_pool2d(image, factor) for image in (weighted, weight))
    size = 2 * max(int(weighted.shape[-1] * DETAIL_SHARE) // 4, 1) + 1
    low = _box_twice(weighted, size) / _box_twice(weight, size).clamp(min=0.05)
    if factor > 1:
        low = torch.nn.functional.interpolate(low, size=values.shape[-2:], mode="bilinear", align_corners=False)
    return low


def shading_axis(
    detail: Float[Tensor, "batch 3 height width"], weight: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch 3"]:
    """Return the unit principal axis of the detail's colours, pointing to brighter."""
    total = weight.sum((2, 3)).clamp(min=1.0)[..., None]
    covariance = torch.einsum("bihw,bjhw->bij", detail * weight, detail) / total
    axis = torch.ones_like(covariance[:, :, 0])
    ones = torch.ones_like(covariance)
    # The power method: the first axis is far longer than the second, and no decomposition makes a device wait.
    for _ in range(12):
        axis = ((covariance + GREY_VARIANCE / 3 * ones) @ axis[..., None])[..., 0]
        axis = torch.nn.functional.normalize(axis, dim=1)
    return axis


def _box_twice(image: Tensor, size: int) -> Tensor:
    """Return the mean over a square window, twice; the window is cut at the border, and taken an axis at a time."""
    for _ in range(2):
        for window in ((size, 1), (1, size)):
            padding = (window[0] // 2, window[1] // 2)
            image = torch.nn.functional.avg_pool2d(image, window, 1, padding, count_include_pad=False)
    return image
