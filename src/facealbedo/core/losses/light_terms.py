"""Terms on the per-texel light. Light is SH radiance divided by pi here: a white wall's DC is then 1.13 (2 / sqrt(pi)).

Division by pi makes the weights of ``docs/method.md``, found with irradiance coefficients, hold as they are: an
irradiance basis has A_l / pi folded in, and its authors leave out the pi.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from facealbedo.core.losses.masked import cell_means, cells_inside, differences, masked_mean

# Side of the cells over which the gain should vanish, texels: the light map of the default network resolves more.
GAIN_CELL = 16


def per_colour(uv_illumination: Float[Tensor, "batch 27 rows columns"]) -> Float[Tensor, "batch 3 9 rows columns"]:
    """Light in the terms' unit, colour and coefficient apart."""
    return uv_illumination.unflatten(1, (3, 9)) / math.pi


def white_light_loss(
    uv_illumination: Float[Tensor, "batch 27 rows columns"],
    sh_radiance: Float[Tensor, "batch 3 9"] | None = None,
) -> Float[Tensor, "batch"]:
    """Mean |L - mean over RGB of L|: colour belongs to the albedo.

    With ``sh_radiance`` the colour of the fitted light is free: coloured light is real.
    """
    light = per_colour(uv_illumination)
    if sh_radiance is not None:
        light = light - sh_radiance[..., None, None] / math.pi
    return (light - light.mean(1, keepdim=True)).abs().mean((1, 2, 3, 4))


def global_light_loss(
    uv_illumination: Float[Tensor, "batch 27 rows columns"], sh_radiance: Float[Tensor, "batch 3 9"]
) -> Float[Tensor, "batch"]:
    """Mean |L - fitted light| over texels and the 27 coefficients."""
    return (per_colour(uv_illumination) - sh_radiance[..., None, None] / math.pi).abs().mean((1, 2, 3, 4))


def light_variation_loss(uv_illumination: Float[Tensor, "batch 27 rows columns"]) -> Float[Tensor, "batch"]:
    """Total variation: mean |forward difference| over the map, both axes summed."""
    light = uv_illumination / math.pi
    return sum(
        (differences(light, axis).abs().mean((1, 2, 3)) for axis in (0, 1)),
        start=light.new_zeros(light.shape[0]),
    )


def shading_gain_loss(
    uv_log_gain: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
    cell: int = GAIN_CELL,
) -> Float[Tensor, "batch"]:
    """Mean |grey log gain|, and of its means over cells twice: what is smooth belongs to the light map."""
    grey = uv_log_gain.mean(1, keepdim=True)
    smooth = cell_means(grey, mask, cell).abs()
    return masked_mean(grey.abs(), mask) + 2 * masked_mean(smooth, cells_inside(mask, cell))


def gain_colour_loss(
    uv_log_gain: Float[Tensor, "batch 3 height width"], mask: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch"]:
    """Mean distance of the log gain's channels from their mean: wrinkles and shadows are about grey."""
    colour = uv_log_gain - uv_log_gain.mean(1, keepdim=True)
    return masked_mean(colour.abs().mean(1, keepdim=True), mask)
