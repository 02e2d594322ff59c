"""Rows of pictures: a number can be right while the face is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import srgb_to_linear
from facealbedo.core.evaluate.methods import Separation
from facealbedo.core.evaluate.relit_score import ScoreMaps, Target, relight_image, relight_image_of_truth
from facealbedo.core.evaluate.relit_set import RelitPerson
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.metrics.albedo import delta_e_map

TILE_PX = 160
# Colour difference that the error map shows as full red.
LARGEST_DELTA_E = 15.0

Picture = Float[Tensor, "3 tile tile"]


def truth_column(person: RelitPerson, target: Target, number: int, maps: ScoreMaps) -> bytes:
    """Return what methods are compared with as a PNG of two columns: the photo; true albedo over true relit view."""
    nothing = tile(torch.zeros(1, 3, 8, 8))
    photo = [tile(person.photos[number].image), nothing, nothing]
    relit = tile(srgb_to_linear(relight_image_of_truth(target)))
    truth = [tile(person.uv_albedo * (maps.face > 0.02)), relit, nothing]
    return encode_png_srgb(torch.cat([torch.cat(column, dim=1) for column in (photo, truth)], dim=2))


def method_column(person: RelitPerson, target: Target, separation: Separation, maps: ScoreMaps) -> bytes:
    """Return a PNG of one column: albedo, relit view, CIEDE2000 of the albedo (blue 0, red `LARGEST_DELTA_E`)."""
    cover = (maps.face > 0.02).float()
    tiles = [
        tile(separation.uv_albedo * cover),
        tile(srgb_to_linear(relight_image(target, separation.uv_albedo))),
        tile(error_colours(separation.uv_albedo, person.uv_albedo) * cover),
    ]
    return encode_png_srgb(torch.cat(tiles, dim=1))


def join_columns(columns: Sequence[bytes]) -> bytes:
    """Return PNGs of one height side by side as one."""
    decoded = [decode_image(column) for column in columns]
    pixels = [image.linear_pixels(0, image.height, 0, image.width) for image in decoded]
    return encode_png_srgb(torch.from_numpy(np.concatenate(pixels, axis=1)).float().permute(2, 0, 1))


def tile(image: Float[Tensor, "1 3 height width"]) -> Picture:
    """Bring a linear image to the size of a tile."""
    return F.interpolate(image.clamp(0, 1), size=(TILE_PX, TILE_PX), mode="bilinear", antialias=True)[0]


def error_colours(
    albedo: Float[Tensor, "1 3 height width"], truth: Float[Tensor, "1 3 height width"]
) -> Float[Tensor, "1 3 height width"]:
    """Return the colour difference of each texel as a colour from blue over green to red, linear."""
    part = (delta_e_map(albedo, truth) / LARGEST_DELTA_E).clamp(0, 1)
    ramps = [2 * part - 1, 1 - (2 * part - 1).abs(), 1 - 2 * part]
    return srgb_to_linear(torch.cat(ramps, dim=1).clamp(0, 1))


def side_by_side(images: list[Float[Tensor, "1 3 _ _"]]) -> bytes:
    """Return linear images as one row, PNG."""
    return encode_png_srgb(torch.cat([tile(image) for image in images], dim=2))
