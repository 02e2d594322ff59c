"""Rows of pictures: a number can be right while the face is wrong."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import srgb_to_linear
from facealbedo.core.evaluate.methods import Separation
from facealbedo.core.evaluate.relit_score import ScoreMaps, Target, relight_image, relight_image_of_truth
from facealbedo.core.evaluate.relit_set import RelitPerson
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.metrics.albedo import delta_e_map

TILE_PX = 160
# Colour difference that the error map shows as full red.
LARGEST_DELTA_E = 15.0

Picture = Float[Tensor, "3 tile tile"]


def strip(
    person: RelitPerson, target: Target, number: int, results: Mapping[str, Separation], maps: ScoreMaps
) -> bytes:
    """Return a PNG. Upper row: photo, true albedo, then each method's albedo; middle: true relit view and each relit;
    lower: CIEDE2000 of each albedo map (blue 0, red `LARGEST_DELTA_E`).
    """
    cover = (maps.face > 0.02).float()
    photo = tile(person.photos[number].image)
    upper = [photo, tile(person.uv_albedo * cover)]
    middle = [tile(torch.zeros(1, 3, 8, 8)), tile(srgb_to_linear(relight_image_of_truth(target)))]
    lower = [tile(torch.zeros(1, 3, 8, 8)), tile(torch.zeros(1, 3, 8, 8))]
    for separation in results.values():
        upper.append(tile(separation.uv_albedo * cover))
        middle.append(tile(srgb_to_linear(relight_image(target, separation.uv_albedo))))
        lower.append(tile(error_colours(separation.uv_albedo, person.uv_albedo) * cover))
    rows = [torch.cat(row, dim=2) for row in (upper, middle, lower)]
    return encode_png_srgb(torch.cat(rows, dim=1))


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
