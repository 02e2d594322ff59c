"""How a fabricated face looks in its light: one function of tensors alone, which torch can compile into few kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.lighting.sh import irradiance, positive, sh_basis_image
from facealbedo.core.render.gbuffer import unit
from facealbedo.core.render.specular import SKIN_F0
from facealbedo.core.train.lamp import lamp_diffuse, lamp_highlight
from facealbedo.core.types import TensorRecord

# What a rough mirror leaves of each band of the surroundings.
MIRRORED_BANDS = (1.0, *[0.92] * 3, *[0.8] * 5, *[0.6] * 7, *[0.45] * 9)


@dataclass(frozen=True)
class LitFace(TensorRecord):
    """Everything that decides the radiance at each pixel (view frame, linear).

    * ``albedo``, ``normal``, ``position``: of the surface.
    * ``openness``: share of the surroundings that it sees. ``cavity``: of the lamp's light that reaches the bottom of
      wrinkles.
    * ``surroundings``: SH radiance to order 4.
    * ``lamp_direction`` (unit), ``lamp_colour`` (the shading that it makes straight on), ``lamp_seen``: its share that
      each pixel sees, ``lamp_exponent``: of its highlight.
    * ``gloss``: strength of all reflections.
    """

    albedo: Float[Tensor, "batch 3 height width"]
    normal: Float[Tensor, "batch 3 height width"]
    position: Float[Tensor, "batch 3 height width"]
    openness: Float[Tensor, "batch 1 height width"]
    cavity: Float[Tensor, "batch 1 height width"]
    surroundings: Float[Tensor, "batch 3 25"]
    lamp_direction: Float[Tensor, "batch 3"]
    lamp_colour: Float[Tensor, "batch 3"]
    lamp_seen: Float[Tensor, "batch 1 height width"]
    lamp_exponent: Float[Tensor, "batch"]
    gloss: Float[Tensor, "batch"]


def illuminate(face: LitFace) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 3 height width"]]:
    """Return radiance (diffuse and reflected) and diffuse shading."""
    towards = -unit(face.position)
    smooth = positive(irradiance(face.surroundings, face.normal) / math.pi) * face.openness
    lamp = face.lamp_colour[:, :, None, None] * face.lamp_seen * face.cavity
    shading = smooth + lamp * lamp_diffuse(face.normal, face.lamp_direction)
    highlight = lamp * lamp_highlight(towards, face.normal, face.lamp_direction, face.lamp_exponent, SKIN_F0)
    reflected = mirrored(face.surroundings, face.normal, towards) * face.openness + highlight
    return face.albedo * shading + face.gloss[:, None, None, None] * reflected, shading


def mirrored(
    surroundings: Float[Tensor, "batch 3 25"],
    normal: Float[Tensor, "batch 3 height width"],
    towards: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return the radiance that rough skin mirrors: from about the mirror direction, Schlick's Fresnel factor."""
    cosine = (normal * towards).sum(1, keepdim=True).clamp(0, 1)
    direction = unit(2 * cosine * normal - towards)
    bands = surroundings.new_tensor(MIRRORED_BANDS)
    seen = torch.einsum("bck,bkhw->bchw", surroundings * bands, sh_basis_image(direction, 4)).clamp(min=0)
    return (SKIN_F0 + (1 - SKIN_F0) * (1 - cosine) ** 5) * seen


@lru_cache(maxsize=2)
def illuminator(fused: bool) -> Callable[[LitFace], tuple[Tensor, Tensor]]:
    """Return `illuminate`, compiled if ``fused``."""
    return torch.compile(illuminate, dynamic=False) if fused else illuminate
