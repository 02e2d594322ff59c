"""The classical refinement: unwrapped texture divided by shading, completed by its mirror image and the prior.

It needs no network, is complete and evenly lit, and is the baseline that every network has to beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
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
        max_darker, max_brighter, max_hue: largest believable log(albedo / prior), natural: of the level downward and
            upward, and of a colour about its level. The quotient is softly limited to it, which keeps highlights and
            cast shadows from being taken for pigment. Brows and moles are much darker than the prior; hardly anything
            on a face is much brighter.
        gloss: how much less of a hue is believed, a unit of log brightness above the prior.
        even_share, uneven_share: how much is believed of broad differences from the prior that both sides of the face
            share, and of those that they do not: the less alike the sides, the likelier it is light that order 2 cannot
            follow. Detail is always kept.
        broad_cells: differences are broad that outlast averaging over a grid of this many cells a side.
        mirror_trust: factor on the trust of mirrored texels.
        carry_cells: beyond the seen part the local ratio is carried on over about one cell of a grid of this many
            cells a side; farther away the ratio is that of the whole face.
        max_overall: largest such ratio of the whole face, log: what is more is a hard shadow over most of it.
    """

    shading_floor: float = 0.12
    saturation: float = 0.97
    max_darker: float = 1.1
    max_brighter: float = 0.5
    max_hue: float = 0.5
    gloss: float = 8.0
    even_share: float = 0.7
    uneven_share: float = 0.3
    broad_cells: int = 32
    mirror_trust: float = 0.8
    carry_cells: int = 16
    max_overall: float = 0.2


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
    region: Float[Tensor, "height width"] | None = None,
) -> QuotientResult:
    """Divide the unwrapped texture by the shading and complete it.

    Everything happens on the log-ratio to the prior, so that "nothing known" is 0 and blending is multiplicative:
    the texel's own value where it is seen and trusted, the mirrored side's where only that is seen, and elsewhere the
    prior times the face's own overall ratio, with a soft crossover so that no border shows.

    Args:
        observation: linear texture and trust in the atlas.
        shading: irradiance / pi at the texels, linear RGB, in the texture's units.
        prior_albedo: complete linear albedo of the parametric prior, > 0 inside the atlas.
        config: weights; the defaults when omitted.
        region: factor on the trust, in [0, 1]: 0 where what is seen is not believed to be this face's skin whatever
            the photo shows (hair, collar, the rims of the lids); all 1 when omitted.

    Returns:
        Albedo in (0, 1] at the observation's resolution, which must be divisible by 64.
    """
    settings = config or QuotientConfig()
    own_trust = _trust(observation, shading, settings)
    own_trust = own_trust if region is None else own_trust * region
    log_ratio = _limited_log_ratio(observation.uv_texture, shading, prior_albedo, settings)
    mirror_trust = own_trust.flip(-1) * settings.mirror_trust
    log_ratio = _without_uneven_light(log_ratio, own_trust, settings)
    residual = _complete(log_ratio, own_trust, mirror_trust, settings)
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
    level = ratio.mean(1, keepdim=True)
    # Level and hue apart: limiting each colour on its own would turn a highlight's hue.
    largest = torch.where(level > 0, settings.max_brighter, settings.max_darker)
    # What is brighter than skin is gloss: its hue is the light's, and the light's errors are in it.
    hue_limit = settings.max_hue / (1 + settings.gloss * level.clamp(min=0))
    return largest * torch.tanh(level / largest) + hue_limit * torch.tanh((ratio - level) / hue_limit)


def _without_uneven_light(log_ratio: Tensor, trust: Tensor, settings: QuotientConfig) -> Tensor:
    """Shrink broad differences from the prior, those of one side of the face more than those of both."""
    size = (log_ratio.shape[-2], log_ratio.shape[-1])
    depth = int(math.log2(max(1, size[0] // settings.broad_cells)))
    total = _low_pass(trust, depth, size)
    known = torch.where(trust > 0, log_ratio, 0.0)
    broad = _low_pass(known * trust, depth, size) / total.clamp(min=1e-6)
    both = total + total.flip(-1)
    even = (broad * total + broad.flip(-1) * total.flip(-1)) / both.clamp(min=1e-6)
    return log_ratio - broad + settings.even_share * even + settings.uneven_share * (broad - even)


def _complete(log_ratio: Tensor, own_trust: Tensor, mirror_trust: Tensor, settings: QuotientConfig) -> Tensor:
    """Blend own, mirrored and extended log-ratios band by band."""
    levels = int(math.log2(_power_of_two_divisor(log_ratio)))
    own = pull_push(log_ratio, own_trust, levels)
    mirrored = own.flip(-1)
    known = (own_trust + (1 - own_trust) * mirror_trust).clamp(max=1)
    both = own * own_trust + mirrored * (1 - own_trust)
    extended = _extended(both, known, levels, settings)
    weights = (own_trust, (1 - own_trust) * mirror_trust, (1 - own_trust) * (1 - mirror_trust))
    return blend_multiband((own, mirrored, extended), weights, min(levels, 6))


def _extended(log_ratio: Tensor, known: Tensor, levels: int, settings: QuotientConfig) -> Tensor:
    """Return the whole face's ratio, drawn to the local one near what is known.

    Carrying the values at the border on for ever would carry on their errors: they are the grazing ones.
    """
    size = (log_ratio.shape[-2], log_ratio.shape[-1])
    overall = settings.max_overall * torch.tanh(_weighted_median(log_ratio, known) / settings.max_overall)
    cell = max(1, size[0] // settings.carry_cells)
    depth = min(levels, int(math.log2(cell)))
    local = pull_push(log_ratio, known, levels)
    nearness, local = (_low_pass(values, depth, size) for values in (known, local))
    return overall + (local - overall) * nearness


def _low_pass(values: Tensor, levels: int, size: tuple[int, int]) -> Tensor:
    """Average over cells of ``2**levels`` texels and come back smoothly; twice, for a smooth kernel."""
    for _ in range(2):
        low = F.avg_pool2d(values, 2**levels) if levels else values
        values = F.interpolate(low, size=size, mode="bilinear", align_corners=False)
    return values


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Return the median over texels of weight above one half, a channel each; 0 where there is none."""
    chosen = torch.where(weights > 0.5, values, torch.nan).flatten(2)
    return torch.nan_to_num(chosen.nanmedian(dim=2).values, nan=0.0)[:, :, None, None]


def _power_of_two_divisor(values: Tensor) -> int:
    """Return the largest power of two that divides both sides of a map."""
    common = math.gcd(values.shape[-2], values.shape[-1])
    divisor = common & -common
    if divisor < 64:
        raise ValueError(f"map sides must be divisible by 64, got {tuple(values.shape[-2:])}")
    return divisor
