"""How coarse the lower face looks: a beard has strands or stubble, skin in shade is as smooth as other skin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.render.uv import bake_region
from facealbedo.core.types import TensorRecord

STRAND_PX = 256
"""Side of the atlas in which coarseness is measured; about a texel a millimetre."""

_DARKEST = 4e-3
_WINDOW = 7


@dataclass(frozen=True)
class StrandMaps(TensorRecord):
    """Places in the atlas at `STRAND_PX`: where a ``beard`` may grow, without lips, and ``skin`` that never has one."""

    beard: Float[Tensor, "1 1 height width"]
    skin: Float[Tensor, "1 1 height width"]


@dataclass(frozen=True)
class Coarseness(TensorRecord):
    """Median |log level - its mean over 7 texels| where a beard may grow, and its log ratio to that of other skin."""

    level: Float[Tensor, "batch"]
    log_ratio: Float[Tensor, "batch"]


def strand_maps(model: FaceModel) -> StrandMaps:
    """Bake the places."""
    beard = bake_region(model, "beard", STRAND_PX)[None, None]
    lips = F.max_pool2d(bake_region(model, "lips", STRAND_PX)[None, None], 9, 1, 4)
    core = bake_region(model, "core_skin", STRAND_PX)[None, None]
    return StrandMaps(
        beard=((beard > 0.5) & (lips < 0.1)).float(),
        skin=((core > 0.9) & (beard < 0.1)).float(),
    )


def coarseness(
    texture: Float[Tensor, "batch 3 height width"], visibility: Float[Tensor, "batch 1 height width"], maps: StrandMaps
) -> Coarseness:
    """Measure; a face of which either place is hidden counts as smooth.

    Args:
        texture: linear RGB, square.
        visibility: of the texels.
        maps: places in the atlas.
    """
    size = (STRAND_PX, STRAND_PX)
    level = F.interpolate(texture, size=size, mode="area").clamp(min=_DARKEST).log().mean(1, keepdim=True)
    seen = (F.interpolate(visibility, size=size, mode="area") > 0.4).float()
    # Borders of what is seen are no strands.
    whole = F.avg_pool2d(seen, _WINDOW, 1, _WINDOW // 2) > 0.98
    fine = (level - F.avg_pool2d(level, _WINDOW, 1, _WINDOW // 2)).abs()

    def median(place: Tensor) -> Float[Tensor, "batch"]:
        chosen = torch.where(whole & (place > 0), fine, torch.nan).flatten(1)
        return torch.nan_to_num(chosen.nanmedian(1).values).clamp(min=1e-3)

    lower, other = median(maps.beard), median(maps.skin)
    return Coarseness(lower, (lower / other).log())
