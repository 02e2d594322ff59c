"""Scene files of a reconstructed face: GLB and OBJ, in memory."""

from __future__ import annotations

from typing import Any

from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.face_scene import build_scene
from facealbedo.core.export.gltf import write_glb
from facealbedo.core.export.obj import write_obj
from facealbedo.core.export.scene import Image
from facealbedo.core.export.textures import atlas_fill, encode_jpeg, encode_png, srgb8_from_linear
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset

GENERATOR = "facealbedo"


def export_glb(
    asset: FaceAsset,
    model: FaceModel,
    config: ExportConfig | None = None,
    *,
    albedo_png: bytes | None = None,
    extras: dict[str, Any] | None = None,
) -> bytes:
    """Return a face as a binary glTF file: head, eyes, teeth and tongue, the albedo as base colour.

    The head stands in the world frame: metres, +y up, it looks along +z, without the photo's pose.

    Args:
        asset: one face (batch 1).
        model: the face model that it was fitted with.
        config: expression, morph targets, texture format; the defaults if not given.
        albedo_png: what `albedo_picture` returned for this asset, if the caller has it.
        extras: facts to keep in the file's ``asset.extras``; JSON values without NaN.

    Raises:
        ValueError: the asset holds another number of faces than one, is not the model's, or is not finite.
    """
    config = config or ExportConfig()
    nodes = build_scene(asset, model, _albedo_image(asset, model, config, albedo_png), config)
    return write_glb(nodes, scene_name="face", generator=GENERATOR, extras=extras)


def export_obj(
    asset: FaceAsset, model: FaceModel, config: ExportConfig | None = None, *, albedo_png: bytes | None = None
) -> dict[str, bytes]:
    """Return a face as ``face.obj``, ``face.mtl``, ``albedo.png`` and ``eye.png``; see `export_glb`.

    Morph targets have no place in OBJ: the expression asked for is in the vertices.
    """
    config = config or ExportConfig()
    solid = ExportConfig(expression=config.expression, iris_albedo=config.iris_albedo)
    image = Image("albedo", "image/png", albedo_png or albedo_picture(asset, model))
    return write_obj(build_scene(asset, model, image, solid))


def albedo_picture(asset: FaceAsset, model: FaceModel) -> bytes:
    """Return the albedo as an sRGB PNG; texels outside the atlas repeat their nearest neighbour inside."""
    return encode_png(_albedo8(asset, model))


def _albedo_image(asset: FaceAsset, model: FaceModel, config: ExportConfig, albedo_png: bytes | None) -> Image:
    if config.glb_texture == "jpeg":
        return Image("albedo", "image/jpeg", encode_jpeg(_albedo8(asset, model), config.jpeg_quality))
    return Image("albedo", "image/png", albedo_png or albedo_picture(asset, model))


def _albedo8(asset: FaceAsset, model: FaceModel) -> Any:
    return atlas_fill(model, asset.uv_albedo.shape[-1]).apply(srgb8_from_linear(asset.uv_albedo[0]))
