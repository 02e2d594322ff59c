"""What a picture of a face says about skin tone, as a few robust numbers.

Faces enter as *points*: a point is a place on the skin with its colour, normal, trust and membership of regions,
whether it comes from a photo's texels or from a simulation. So the estimator sees the same thing in both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.types import TensorRecord

# Regions whose colour is compared with that of the core skin.
# Not more of them: make-up, beards and misfits make the others differ more from a simulation than they tell.
REGIONS = ("lips",)
CORE = "core_skin"
# The region whose light stands for that of the eyes.
EYES = "lids"
DARKEST = 2e-3
# By how much log(R/G) of skin exceeds that of the eye white at the least. Between narrow lids, in their shade, what is
# taken for the white is lid, lash or iris.
_LEAST_REDDER = 0.2
# By how much log(B/G) of a region exceeds that of the core skin at most. Blood takes green more than blue from the
# light, in 199 of 200 simulated lips by less than this; beyond it is paint, which says nothing of the skin. Redness is
# no such sign: in dim, saturated pictures light skin's own lips are as red as lipstick.
_MOST_BLUE = 0.75
# Where less than this part of the face's mean light is left, the fitted light says little of what is there.
_DEEPEST_SHADE = 0.15
N_FEATURES = 3 + 4 * len(REGIONS) + 4 + 4


@dataclass(frozen=True)
class SkinPoints(TensorRecord):
    """Points of skin as a picture shows them.

    * ``colour``: linear RGB of the picture.
    * ``trust``: in [0, 1].
    * ``regions``: membership in [0, 1]; `CORE` first, then `REGIONS`.
    * ``shading``: luminance of the light that falls on each, up to a factor a face.
    * ``eye_shading``: the same, mean over the seen lids: the light that the eyes stand in.
    """

    colour: Float[Tensor, "batch point 3"]
    trust: Float[Tensor, "batch point"]
    regions: Float[Tensor, "region point"]
    shading: Float[Tensor, "batch point"]
    eye_shading: Float[Tensor, "batch"]


@dataclass(frozen=True)
class Surroundings(TensorRecord):
    """Colours beside the skin: linear RGB of the eye white and of everything around the face, and how sure, in [0, 1].

    A reliability of 0 means "not seen"; the colour is then not read. That of the eye white falls with the difference of
    the two eyes.
    """

    eye_white: Float[Tensor, "batch 3"]
    eye_white_reliability: Float[Tensor, "batch"]
    background: Float[Tensor, "batch 3"]
    background_reliability: Float[Tensor, "batch"]


def tone_features(points: SkinPoints, surroundings: Surroundings) -> Float[Tensor, "batch feature"]:
    """Return the features; logs are natural; symmetric under mirroring of the face.

    In order: log luminance, log R/G and log B/G of the core skin (medians); for each region the medians of the same
    three logs relative to the core; the eye white and the background relative to the core; each with its reliability.
    A region that is not seen, or of a colour that no blood gives (lipstick), has the reliability 0.

    Luminances of skin and eye white are those in the core's mean light: lips and eyes stand in other light than cheeks
    and forehead.
    The shading itself is left out: cast shadows and gloss make its shape tell more of a simulation than of a face.
    """
    core_weight = points.trust * points.regions[0]
    mean_shading = (points.shading * core_weight).sum(1) / core_weight.sum(1).clamp(min=1e-6)
    logs = _log_chroma(points.colour)
    logs = torch.cat([logs[..., :1] - _log_light(points.shading, mean_shading[:, None])[..., None], logs[..., 1:]], -1)
    centre = _weighted_median(logs, core_weight)
    relative = logs - centre[:, None]
    parts = [centre]
    parts += [_region_features(relative, points.trust * region) for region in points.regions[1:]]
    eye_light = _log_light(points.eye_shading, mean_shading)
    for colour, reliability, light in (
        (surroundings.eye_white, surroundings.eye_white_reliability, eye_light),
        (surroundings.background, surroundings.background_reliability, torch.zeros_like(eye_light)),
    ):
        difference = _log_chroma(colour) - centre
        difference = torch.cat([difference[:, :1] - light[:, None], difference[:, 1:]], dim=-1)
        parts.append(torch.cat([difference * (reliability > 0)[:, None], reliability[:, None]], dim=-1))
    return torch.cat(parts, dim=-1)


def mean_over_lids(
    values: Float[Tensor, "batch channel point"], trust: Float[Tensor, "batch point"], lids: Float[Tensor, "point"]
) -> Float[Tensor, "batch channel"]:
    """Return the mean over the lids that are seen; where none is, the hidden ones have to do."""
    weight = (lids * (trust + 1e-3))[:, None]
    return (values * weight).sum(2) / weight.sum(2)


def _log_light(shading: Tensor, mean: Tensor) -> Tensor:
    """Log of the light relative to the mean; 0 where there is no mean."""
    relative = torch.where(mean > 0, shading / mean.clamp(min=1e-6), 1.0)
    return relative.clamp(min=_DEEPEST_SHADE).log()


def _region_features(
    relative: Float[Tensor, "batch point 3"], weights: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch 4"]:
    """Return a region's medians and whether they can be believed; all 0 if not."""
    median = _weighted_median(relative, weights)
    natural = (median[:, 2] < _MOST_BLUE) & (weights.sum(1) > 0)
    believed = natural[:, None].to(median)
    return torch.cat([median * believed, believed], dim=-1)


def without_false_white(points: SkinPoints, surroundings: Surroundings) -> Surroundings:
    """Return the surroundings with the eye white called unseen where it is about as red as the skin.

    White and skin stand in one light, and whites are never that red: in its place something else was measured, which
    would pass dark skin off as skin brighter than an eye white.
    """
    skin = _weighted_median(_log_chroma(points.colour), points.trust * points.regions[0])
    redder = skin[:, 1] - _log_chroma(surroundings.eye_white)[:, 1]
    believed = surroundings.eye_white_reliability * (redder >= _LEAST_REDDER)
    return replace(surroundings, eye_white_reliability=believed)


def _log_chroma(colour: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Return log luminance, log R/G and log B/G; colours near black keep a finite log."""
    safe = colour.clamp(min=DARKEST)
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
