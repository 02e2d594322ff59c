"""The atlas maps of a face as pictures, and the numbers that can be read off them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from facealbedo.core.colour import ITA_GROUPS, ita_degrees, ita_group, linear_rgb_to_lab, luminance
from facealbedo.core.export.textures import atlas_fill, resize_map, srgb8_from_linear
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.render.shade import shading_detailed
from facealbedo.core.render.uv import atlas_texels, bake_region, bake_vertices
from facealbedo.core.types import FaceAsset

SHADING_PX = 512
# The display scale of the shading map brings this quantile of its luminance over the atlas ...
SHADING_QUANTILE = 0.99
# ... to this linear value, so that highlights keep their colour.
SHADING_DISPLAY_LEVEL = 0.8
SKIN_REGION = "skin"
SEEN_VISIBILITY = 0.5


@dataclass(frozen=True)
class ShadingPicture:
    """A shading map for the eye: ``image`` is sRGB of ``scale`` times the shading (clipped to [0, 1])."""

    image: UInt8[np.ndarray, "height width 3"]
    scale: float


def uv_shading(
    asset: FaceAsset, model: FaceModel, resolution: int, openness: Float[Tensor, "vertex"] | None = None
) -> Float[Tensor, "1 3 resolution resolution"]:
    """Return the shading (irradiance / π, linear RGB, never negative) at every texel of one face; 0 outside the atlas.

    Args:
        asset: the light is its per-texel illumination, bilinear between coarse texels; normals are the observation's.
        model: of the face.
        resolution: texels a side.
        openness: share of the sky that each vertex sees, if the light was fitted with it.
    """
    normals = resize_map(asset.observation.uv_normal_view, resolution)
    inside = atlas_texels(model, resolution).mask.to(normals.device)
    normals = torch.nn.functional.normalize(normals, dim=1)
    light = torch.nn.functional.interpolate(
        asset.uv_illumination, size=(resolution, resolution), mode="bilinear", align_corners=False
    )
    occlusion = None if openness is None else bake_vertices(model, openness[None, :, None], resolution)
    return torch.where(inside, shading_detailed(light, normals, ambient_occlusion=occlusion), 0.0)


def shading_picture(shading: Float[Tensor, "1 3 height width"], model: FaceModel, resolution: int) -> ShadingPicture:
    """Scale a shading map for display: the brightest hundredth of the atlas comes to a linear 0.8."""
    mask = atlas_texels(model, shading.shape[-1]).mask.to(shading.device)
    bright = torch.quantile(luminance(shading[0].movedim(0, -1)[mask])[::7], SHADING_QUANTILE)
    scale = SHADING_DISPLAY_LEVEL / max(float(bright), 1e-6)
    image = atlas_fill(model, shading.shape[-1]).apply(srgb8_from_linear(shading[0] * scale))
    if image.shape[0] != resolution:
        image = cv2.resize(image, (resolution, resolution), interpolation=cv2.INTER_LINEAR)
    return ShadingPicture(image, scale)


def texture_picture(asset: FaceAsset) -> UInt8[np.ndarray, "height width 3"]:
    """Return the photo in the atlas, sRGB; black outside the atlas."""
    return srgb8_from_linear(asset.observation.uv_texture[0])


def map_numbers(asset: FaceAsset, model: FaceModel, shading: Float[Tensor, "1 3 height width"]) -> dict[str, Any]:
    """Return what the maps of one face say: share of skin seen, colour and tone of the albedo, contrast of the light.

    All are taken over the face model's skin region. ``albedo_linear`` is the median of the albedo, and ITA is that of
    this colour; ``shading_contrast`` is the 95th over the 5th percentile of the shading's luminance where seen.
    """
    size = shading.shape[-1]
    skin = bake_region(model, SKIN_REGION, size).to(shading.device)
    seen = resize_map(asset.observation.uv_visibility, size)[0, 0]
    core = skin > 0.5
    albedo = resize_map(asset.uv_albedo, size)[0].movedim(0, -1)[core]
    colour = albedo.median(dim=0).values
    ita = ita_degrees(linear_rgb_to_lab(colour.double()))
    lit = luminance(shading[0].movedim(0, -1)[core & (seen > SEEN_VISIBILITY)])
    levels = torch.quantile(lit, lit.new_tensor([0.05, 0.5, 0.95])).tolist() if len(lit) else [float("nan")] * 3
    return {
        "visible_percent": float(100 * (skin * seen).sum() / skin.sum().clamp(min=1e-6)),
        "albedo_ita_degrees": float(ita),
        "albedo_ita_group": ITA_GROUPS[int(ita_group(ita))].label,
        "albedo_linear": [round(value, 5) for value in colour.tolist()],
        "albedo_srgb": "#" + bytes(srgb8_from_linear(colour.view(3, 1, 1)).reshape(3)).hex(),
        "shading_median": levels[1],
        "shading_contrast": levels[2] / levels[0] if levels[0] > 1e-6 else float("nan"),
    }
