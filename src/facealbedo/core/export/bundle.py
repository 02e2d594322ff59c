"""All files of one reconstructed face, in memory: scene, maps, pictures and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from facealbedo.core.export.asset_files import export_glb, export_obj
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.maps import ShadingPicture, map_numbers, shading_picture, texture_picture, uv_shading
from facealbedo.core.export.overlay import Overlay, draw_overlay
from facealbedo.core.export.preview_lights import Surroundings
from facealbedo.core.export.relit import draw_relit
from facealbedo.core.export.report import REPORT_FILE, encode_report
from facealbedo.core.export.sheet import PHOTO_FILE, PREVIEW_FILE, RELIT_FILE
from facealbedo.core.export.textures import atlas_fill, encode_jpeg, encode_png, grey8, srgb8_from_linear
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset

_SHADING_PX = 512
_EMPTY_GREY = 96

FILE_NOTES: dict[str, str] = {
    "face.glb": "glTF 2.0: metres, +y up, the face looks along +z; head, eyes, teeth and tongue as objects",
    "albedo.png": "diffuse reflectance in the atlas, sRGB; beyond the atlas's border the nearest texel is repeated",
    "texture.png": "the photo in the atlas, sRGB, light included; black outside the atlas",
    "visibility.png": "trust in the photo at each texel, 0 to 255 for 0 to 1, no transfer function",
    "overlay.png": "the fit over the photo: albedo times light, lines of the atlas, borders of features",
    PHOTO_FILE: "the photo as it was fitted, sRGB",
    PREVIEW_FILE: "small pictures for the contact sheet, side by side",
}


def export_face(
    asset: FaceAsset,
    photo: Float[Tensor, "3 height width"],
    model: FaceModel,
    *,
    face_id: str,
    photo_name: str,
    numbers: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    config: ExportConfig | None = None,
    surroundings: Sequence[Surroundings] = (),
    openness: Float[Tensor, "vertex"] | None = None,
) -> dict[str, bytes]:
    """Return every file of a face: file name → content. The same input gives the same bytes.

    Args:
        asset: one face (batch 1); its camera belongs to the photo.
        photo: the crop that was fitted, linear RGB.
        model: the face model that the asset was fitted with, on the CPU.
        face_id: name of the face in its run.
        photo_name: name of the photo that it came from.
        numbers: what earlier steps measured, in sections (``input``, ``fit``, ``tone``, ``timing``, ...); values must
            be such as a report can hold. What is measured here is added; the given value wins where both have one.
        facts: further sections of the report, such as versions and parameters.
        config: what to write; the defaults if not given.
        surroundings: up to two environments for ``relit.png``, from `preview_lights.prepare_surroundings`.
        openness: share of the sky that each vertex sees, if the light was fitted with it.

    Raises:
        ValueError: shapes do not fit together, a coordinate is not finite, or the model is not on the CPU.
    """
    if model.device.type != "cpu":
        raise ValueError(f"export works on the CPU; the face model is on {model.device}")
    config = config or ExportConfig()
    asset, photo = asset.to("cpu"), photo.to("cpu")
    resolution = asset.uv_albedo.shape[-1]
    shading = uv_shading(asset, model, min(_SHADING_PX, resolution), openness)
    shown = shading_picture(shading, model, resolution)
    albedo = atlas_fill(model, resolution).apply(srgb8_from_linear(asset.uv_albedo[0]))
    texture, visibility = texture_picture(asset), grey8(asset.observation.uv_visibility[0, 0])
    overlay = draw_overlay(asset, photo, model, config, openness)
    relit = draw_relit(asset, model, config, surroundings)
    albedo_png = encode_png(albedo)
    files = {
        "face.glb": export_glb(asset, model, config, albedo_png=albedo_png),
        "albedo.png": albedo_png,
        "texture.png": encode_png(texture),
        "visibility.png": encode_png(visibility),
        "shading.png": encode_png(shown.image),
        "overlay.png": encode_png(overlay.overlay),
        RELIT_FILE: encode_png(np.concatenate(relit.images, axis=1)),
        PHOTO_FILE: encode_jpeg(overlay.photo),
        PREVIEW_FILE: _preview(overlay, texture, visibility, albedo, shown, relit.images, config.preview_px),
    }
    if config.with_obj:
        obj = export_obj(asset, model, config, albedo_png=albedo_png)
        files |= {name: data for name, data in obj.items() if name not in files}
    measured = {
        **map_numbers(asset, model, shading),
        "shading_display_scale": shown.scale,
        "overlay_error": overlay.error,
    }
    notes = {name: FILE_NOTES.get(name, "") for name in files} | {
        "shading.png": f"irradiance / pi at each texel times {shown.scale:.6g}, sRGB",
        RELIT_FILE: f"left to right: {'; '.join(relit.lights)}. The same lights for every face, none"
        " adjusted to the skin; linear values above 0.8 are rolled off",
    }
    report = encode_report(face_id, photo_name, _merged({"maps": measured}, numbers or {}), notes, facts or {})
    return {**files, REPORT_FILE: report}


def _preview(
    overlay: Overlay,
    texture: UInt8[np.ndarray, "height width 3"],
    visibility: UInt8[np.ndarray, "height width"],
    albedo: UInt8[np.ndarray, "height width 3"],
    shading: ShadingPicture,
    lights: list[UInt8[np.ndarray, "side side 3"]],
    side: int,
) -> bytes:
    """Return the pictures of a row of the contact sheet side by side, in the order of `sheet.PREVIEW_PICTURES`."""
    seen = (visibility.astype(np.float32) / 255)[..., None]
    trusted = (texture * seen + _EMPTY_GREY * (1 - seen) + 0.5).astype(np.uint8)
    pictures = [overlay.photo, overlay.overlay, trusted, albedo, shading.image, *lights]
    return encode_jpeg(np.concatenate([_square(picture, side) for picture in pictures], axis=1), quality=88)


def _square(picture: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Shrink a picture and cut its middle square."""
    height, width = picture.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = picture[top : top + short, left : left + short]
    interpolation = cv2.INTER_AREA if short >= side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (side, side), interpolation=interpolation))


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Join two nested mappings; the second wins."""
    result = dict(first)
    for key, value in second.items():
        mine = result.get(key)
        if isinstance(mine, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(mine, value)
        else:
            result[key] = value
    return result
