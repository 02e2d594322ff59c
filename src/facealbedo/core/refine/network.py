"""The learned refinement of one face, at any resolution of its texture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.networks.pigment import believed, hairiness, wholly
from facealbedo.core.networks.records import RefinerInput, RefinerOutput
from facealbedo.core.networks.refiner import Refiner, face_pigment, log_ratio, soft_ceiling
from facealbedo.core.render.uv import mirror_uv
from facealbedo.core.types import TensorRecord

NETWORK_PX = 256
SMALLEST_PRIOR, LARGEST_PRIOR = 3e-3, 0.98
DARKEST_ALBEDO = 1e-3


@dataclass(frozen=True)
class RefinedFace(TensorRecord):
    """A refined face at the texture's resolution.

    * ``uv_albedo``: complete linear albedo in (0, 1).
    * ``uv_illumination``: order-2 SH radiance a texel of the network's maps (view frame), the shading gain included.
    * ``uv_confidence``: exp(-expected error of log albedo besides its tone), in (0, 1]; 1 for networks that do
      not say.
    """

    uv_albedo: Float[Tensor, "batch 3 height width"]
    uv_illumination: Float[Tensor, "batch 27 rows columns"]
    uv_confidence: Float[Tensor, "batch 1 rows columns"]


@torch.no_grad()
def refine_with_network(refiner: Refiner, small: RefinerInput, full: RefinerInput) -> RefinedFace:
    """Refine at the network's resolution, and take finer detail from the photo where the network lets it in.

    log(albedo / prior) is the network's change plus its gates times pigment and other detail of log(texture / (shading
    x prior)); the second part is computed again at the full resolution, the rest is smooth and enlarged.

    Args:
        refiner: the network, in evaluation.
        small: the face at `NETWORK_PX`.
        full: the same face at the texture's resolution.
    """
    small, full = _clamped(small), _clamped(full)
    found = refiner(small)
    limit = getattr(refiner, "max_log_ratio", 1.0)
    residual = found.uv_albedo.log() - small.prior_albedo.log()
    smooth = residual - _taken(*_detail(small, limit), found.detail_gates)
    size = (full.prior_albedo.shape[-2], full.prior_albedo.shape[-1])
    gates = torch.minimum(_enlarged(found.detail_gates, size), believed(full.observation.uv_visibility))
    ratio, pigment = _detail(full, limit)
    detail = _taken(ratio, pigment, gates) + _beard_of_other_side(full, pigment, gates)
    albedo = soft_ceiling(full.prior_albedo * (_enlarged(smooth, size) + detail).exp()).clamp(min=DARKEST_ALBEDO)
    confidence = torch.exp(-torch.exp(0.5 * found.log_variance))
    return RefinedFace(albedo, _light_with_gain(found), confidence)


def _detail(face: RefinerInput, limit: float) -> tuple[Tensor, Tensor]:
    """Return the log ratio of a face and its pigment."""
    ratio = log_ratio(face, limit)
    return ratio, face_pigment(face, ratio)


def _taken(ratio: Tensor, pigment: Tensor, gates: Float[Tensor, "batch 2 height width"]) -> Tensor:
    """Return what the gates let into the albedo."""
    return gates[:, :1] * pigment + gates[:, 1:] * (ratio - pigment)


def _beard_of_other_side(face: RefinerInput, pigment: Tensor, gates: Float[Tensor, "batch 2 height width"]) -> Tensor:
    """Return for texels that are not seen what beard the other side has there: beards are symmetric, moles are not."""
    trust, features = face.observation.uv_visibility, face.uv_regions[:, 1:]
    pigment = pigment * (1 - wholly(features))
    beard = gates[:, :1] * pigment * hairiness(pigment, trust)
    return mirror_uv(beard) * (1 - believed(trust))


def _light_with_gain(found: RefinerOutput) -> Float[Tensor, "batch 27 rows columns"]:
    """Return the light map at the albedo's resolution, times the gain: shading is linear in the light."""
    size = (found.uv_log_gain.shape[-2], found.uv_log_gain.shape[-1])
    light = _enlarged(found.uv_illumination, size).unflatten(1, (3, 9))
    return (light * found.uv_log_gain.exp()[:, :, None]).flatten(1, 2)


def _clamped(face: RefinerInput) -> RefinerInput:
    prior = face.prior_albedo.clamp(SMALLEST_PRIOR, LARGEST_PRIOR)
    return replace(face, prior_albedo=prior)


def _enlarged(uv_map: Tensor, size: tuple[int, int]) -> Tensor:
    if (uv_map.shape[-2], uv_map.shape[-1]) == size:
        return uv_map
    return torch.nn.functional.interpolate(uv_map, size=size, mode="bilinear", align_corners=False)
