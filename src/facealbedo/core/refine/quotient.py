"""The classical refinement: unwrapped texture divided by shading, completed by its mirror image and the prior.

It needs no network, is complete and evenly lit, and is the baseline that every network has to beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.refine.pyramid import blend_multiband, pull_push
from facealbedo.core.types import UVObservation


@dataclass(frozen=True)
class QuotientConfig:
    """How texture, mirror image and prior are weighed.

    Attributes:
        shading_floor: fraction of the face's median shading below which the quotient is not trusted at all: there the
            division would amplify noise and every error of the light.
        saturation: linear value above which a texel counts as burnt out.
        max_log_ratio: largest believable |log(albedo / prior)|; the quotient is softly limited to it, which keeps
            highlights and cast shadows from being taken for pigment.
        mirror_trust: factor on the trust of mirrored texels.
    """

    shading_floor: float = 0.12
    saturation: float = 0.97
    max_log_ratio: float = 1.1
    mirror_trust: float = 0.8


@dataclass(frozen=True)
class QuotientResult:
    """A complete linear albedo map, and how much of each texel came from the photo itself (1) or not (0)."""

    uv_albedo: Float[Tensor, "batch 3 height width"]
    confidence: Float[Tensor, "batch 1 height width"]


def quotient_albedo(
    observation: UVObservation,
    shading: Float[Tensor, "batch 3 height width"],
    prior_albedo: Float[Tensor, "batch 3 height width"],
    config: QuotientConfig | None = None,
) -> QuotientResult:
    """Divide the unwrapped texture by the shading and complete it.

    Everything happens on the log-ratio to the prior, so that "nothing known" is 0 and blending is multiplicative:
    the texel's own value where it is seen and trusted, the mirrored side's where only that is seen, and elsewhere the
    prior, carrying on the smooth part of the ratio so that no border shows.

    Args:
        observation: linear texture and trust in the atlas.
        shading: irradiance / pi at the texels, linear RGB, in the texture's units.
        prior_albedo: complete linear albedo of the parametric prior, > 0 inside the atlas.
        config: weights; the defaults when omitted.

    Returns:
        Albedo in (0, 1] at the observation's resolution, which must be divisible by 64.
    """
    settings = config or QuotientConfig()
    own_trust = _trust(observation, shading, settings)
    log_ratio = _limited_log_ratio(observation.uv_texture, shading, prior_albedo, settings)
    mirror_trust = own_trust.flip(-1) * settings.mirror_trust
    residual = _complete(log_ratio, own_trust, mirror_trust)
    albedo = (prior_albedo * residual.exp()).clamp(min=1e-4, max=1.0)
    return QuotientResult(albedo, own_trust)


def _trust(observation: UVObservation, shading: Tensor, settings: QuotientConfig) -> Tensor:
    """Return visibility, less where the texel is burnt out or the shading too dark to divide by."""
    visibility = observation.uv_visibility
    luminance = shading.mean(1, keepdim=True)
    seen = torch.where(visibility > 0.5, luminance, torch.nan).flatten(1)
    reference = torch.nan_to_num(seen.nanmedian(1).values, nan=1.0).clamp(min=1e-4)[:, None, None, None]
    relative = luminance / reference
    lit = ((relative - settings.shading_floor) / settings.shading_floor).clamp(0, 1)
    brightest = observation.uv_texture.amax(1, keepdim=True)
    exposed = ((1 - brightest) / (1 - settings.saturation)).clamp(0, 1)
    return visibility * lit * exposed


def _limited_log_ratio(texture: Tensor, shading: Tensor, prior: Tensor, settings: QuotientConfig) -> Tensor:
    """Return log(texture / (shading * prior)), softly limited."""
    ratio = texture.clamp(min=1e-4).log() - shading.clamp(min=1e-4).log() - prior.clamp(min=1e-4).log()
    limit = settings.max_log_ratio
    return limit * torch.tanh(ratio / limit)


def _complete(log_ratio: Tensor, own_trust: Tensor, mirror_trust: Tensor) -> Tensor:
    """Blend own, mirrored and extended log-ratios band by band."""
    levels = int(math.log2(_power_of_two_divisor(log_ratio)))
    own = pull_push(log_ratio, own_trust, levels)
    mirrored = own.flip(-1)
    known = (own_trust + (1 - own_trust) * mirror_trust).clamp(max=1)
    both = own * own_trust + mirrored * (1 - own_trust)
    # Far from everything seen, only the smoothest part of the ratio is carried on: the face's overall tone.
    extended = _smooth(pull_push(both, known, levels), min(levels, 5))
    weights = (own_trust, (1 - own_trust) * mirror_trust, (1 - own_trust) * (1 - mirror_trust))
    return blend_multiband((own, mirrored, extended), weights, min(levels, 6))


def _smooth(values: Tensor, levels: int) -> Tensor:
    """Low-pass a map by going down and up a pyramid."""
    size = (values.shape[-2], values.shape[-1])
    low = values
    for _ in range(levels):
        low = torch.nn.functional.avg_pool2d(low, 2)
    return torch.nn.functional.interpolate(low, size=size, mode="bicubic", align_corners=False)


def _power_of_two_divisor(values: Tensor) -> int:
    """Return the largest power of two that divides both sides of a map."""
    common = math.gcd(values.shape[-2], values.shape[-1])
    divisor = common & -common
    if divisor < 64:
        raise ValueError(f"map sides must be divisible by 64, got {tuple(values.shape[-2:])}")
    return divisor
