"""The part of an albedo that goes with the light of its photo.

One photo does not tell a pattern of the light from the same pattern of the skin. The light's is taken for light: an
albedo with light in it cannot be lit anew, while one that lacks a little of the skin's own wide pattern still can.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.networks.pigment import coarse_part
from facealbedo.core.render.uv import mirror_uv

# Variance of the log light over the seen skin at which half of the slope is believed: even light has no pattern that
# could be told from chance.
EVEN_VARIANCE = 0.02
# Largest part of the light that is looked for in an albedo. More of it is a beard below light from above.
LARGEST_SLOPE = 0.3


def baked_light(
    log_albedo: Float[Tensor, "batch 1 height width"],
    log_light: Float[Tensor, "batch 1 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    skin: Float[Tensor, "batch_or_1 1 height width"],
) -> Float[Tensor, "batch 1 height width"]:
    """Return the regression of a log albedo on the smoothed log light, over seen bare skin; its mean there is 0.

    Light from above and light from a side are looked for apart, as the symmetric part of the pattern and the rest:
    faces are symmetric, and what says that one of the two is there says nothing about the other. Far from all that is
    seen it is 0.

    Args:
        log_albedo: natural log of its luminance.
        log_light: natural log of the luminance of the shading on smooth normals, of the fit; constant to gradients.
        trust: of each texel.
        skin: bare skin.
    """
    weight = trust * skin
    total = weight.sum((2, 3), keepdim=True).clamp(min=1.0)

    def mean(values: Tensor) -> Float[Tensor, "batch 1 1 1"]:
        return (values * weight).sum((2, 3), keepdim=True) / total

    with torch.no_grad():
        pattern = coarse_part(log_light - mean(log_light), trust)
        mirrored = mirror_uv(pattern)
        halves = [half - mean(half) for half in ((pattern + mirrored) / 2, (pattern - mirrored) / 2)]
        powers = [mean(half.square()) + EVEN_VARIANCE for half in halves]
    slopes = [mean(log_albedo * half) / power for half, power in zip(halves, powers, strict=True)]
    above, side = (LARGEST_SLOPE * torch.tanh(slope / LARGEST_SLOPE) for slope in slopes)
    return above * halves[0] + side * halves[1]
