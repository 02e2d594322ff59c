"""What a picture of a face says about skin tone, as a few robust numbers.

Faces enter as *points*: a point is a place on the skin with its colour, normal, trust and membership of regions,
whether it comes from a photo's texels or from a simulation. So the estimator sees the same thing in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.types import TensorRecord

# Regions whose colour is compared with that of the core skin.
# Not more of them: make-up, beards and misfits make the others differ more from a simulation than they tell.
REGIONS = ("lips", "cheeks", "forehead")
CORE = "core_skin"
_DARKEST = 2e-3
_QUANTILES = (0.10, 0.25, 0.75, 0.90)
N_FEATURES = 3 + len(_QUANTILES) + 4 + 1 + 3 * len(REGIONS) + 4 + 4


@dataclass(frozen=True)
class SkinPoints(TensorRecord):
    """Points of skin as a picture shows them.

    * ``colour``: linear RGB of the picture.
    * ``normal``: unit, view frame.
    * ``trust``: in [0, 1].
    * ``regions``: membership in [0, 1]; `CORE` first, then `REGIONS`.
    """

    colour: Float[Tensor, "batch point 3"]
    normal: Float[Tensor, "batch point 3"]
    trust: Float[Tensor, "batch point"]
    regions: Float[Tensor, "region point"]


@dataclass(frozen=True)
class Surroundings(TensorRecord):
    """Colours beside the skin: linear RGB of the eye white and of everything around the face, and how sure, in [0, 1].

    A reliability of 0 means "not seen"; the colour is then not read.
    """

    eye_white: Float[Tensor, "batch 3"]
    eye_white_reliability: Float[Tensor, "batch"]
    background: Float[Tensor, "batch 3"]
    background_reliability: Float[Tensor, "batch"]


def tone_features(points: SkinPoints, surroundings: Surroundings) -> Float[Tensor, "batch feature"]:
    """Return the features; logs are natural; symmetric under mirroring of the face.

    In order: log luminance, log R/G and log B/G of the core skin (medians); quantiles of its log luminance about the
    median; the light's direction and strength from a regression of log luminance on the normal (|x|, y, z, R²); how
    log R/B changes with log luminance; for each region the medians of the same three logs relative to the core; the
    eye white and the background relative to the core, each with its reliability.
    """
    logs = _log_chroma(points.colour)
    core_weight = points.trust * points.regions[0]
    centre = _weighted_median(logs, core_weight)
    relative = logs - centre[:, None]
    parts = [centre, _quantiles(relative[..., 0], core_weight)]
    parts += [_light_shape(relative[..., 0], points.normal, core_weight)]
    parts += [_slope(relative, core_weight)]
    for index in range(len(REGIONS)):
        parts.append(_weighted_median(relative, points.trust * points.regions[index + 1]))
    for colour, reliability in (
        (surroundings.eye_white, surroundings.eye_white_reliability),
        (surroundings.background, surroundings.background_reliability),
    ):
        difference = (_log_chroma(colour) - centre) * reliability[:, None]
        parts.append(torch.cat([difference, reliability[:, None]], dim=-1))
    return torch.cat(parts, dim=-1)


def _log_chroma(colour: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Return log luminance, log R/G and log B/G; colours near black keep a finite log."""
    safe = colour.clamp(min=_DARKEST)
    red, green, blue = safe.log().unbind(-1)
    return torch.stack([luminance(safe).log(), red - green, blue - green], dim=-1)


def _weighted_quantile(values: Tensor, weights: Tensor, part: float) -> Tensor:
    """Quantile of each row of [batch, point] under weights; 0 where all weights are 0."""
    order = values.argsort(dim=1)
    ordered = values.gather(1, order)
    cumulative = weights.gather(1, order).cumsum(1)
    total = cumulative[:, -1:]
    index = (cumulative < part * total).sum(1, keepdim=True).clamp(max=values.shape[1] - 1)
    return torch.where(total > 0, ordered.gather(1, index), 0.0)[:, 0]


def _weighted_median(values: Float[Tensor, "batch point channel"], weights: Tensor) -> Float[Tensor, "batch channel"]:
    return torch.stack([_weighted_quantile(channel, weights, 0.5) for channel in values.unbind(-1)], dim=-1)


def _quantiles(values: Tensor, weights: Tensor) -> Float[Tensor, "batch quantile"]:
    return torch.stack([_weighted_quantile(values, weights, part) for part in _QUANTILES], dim=-1)


def _light_shape(log_luminance: Tensor, normal: Tensor, weights: Tensor) -> Float[Tensor, "batch 4"]:
    """Regress log luminance on the normal: |x|, y and z slopes and the share of variance explained."""
    design = torch.cat([torch.ones_like(normal[..., :1]), normal], dim=-1)
    weight = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
    gram = torch.einsum("bni,bn,bnj->bij", design, weight, design)
    gram = gram + torch.diag(gram.new_tensor([1e-6, 1e-2, 1e-2, 1e-2]))
    slopes = torch.linalg.solve(gram, torch.einsum("bni,bn,bn->bi", design, weight, log_luminance))
    fitted = (design * slopes[:, None]).sum(-1)
    residual = (weight * (log_luminance - fitted) ** 2).sum(1)
    mean = (weight * log_luminance).sum(1, keepdim=True)
    variance = (weight * (log_luminance - mean) ** 2).sum(1)
    explained = 1 - residual / variance.clamp(min=1e-6)
    return torch.stack([slopes[:, 1].abs(), slopes[:, 2], slopes[:, 3], explained.clamp(-1, 1)], dim=-1)


def _slope(relative: Tensor, weights: Tensor) -> Float[Tensor, "batch 1"]:
    """How log R/B changes with log luminance over the core skin: shadows are warmer, highlights paler."""
    weight = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
    level, warmth = relative[..., 0], relative[..., 1] - relative[..., 2]
    level = level - (weight * level).sum(1, keepdim=True)
    warmth = warmth - (weight * warmth).sum(1, keepdim=True)
    covariance = (weight * level * warmth).sum(1)
    return (covariance / ((weight * level**2).sum(1) + 1e-3))[:, None]
