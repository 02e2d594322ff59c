"""What people reach for: a reconstructed face in the light of an environment map, and turning before the camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.lighting.envmap import EnvironmentMap, project_to_sh
from facealbedo.core.lighting.sh import irradiance, positive, rotate_sh
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.occlusion import SurfaceOcclusion, shadow_irradiance
from facealbedo.core.render.rasterize import Rasterizer
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.render.specular import SKIN_F0, SKIN_ROUGHNESS, specular, specular_light
from facealbedo.core.render.uv import atlas_texels, dilate_seams, texels_per_pixel
from facealbedo.core.types import Camera, FaceAsset, Fragments, GBuffer, Pose

# Linear albedo of what the atlas does not map. The white of an eye is never white (see the notes on the albedo prior).
PART_ALBEDO = {
    "skin": (0.45, 0.30, 0.24),
    "cavity": (0.20, 0.06, 0.05),
    "sclera": (0.58, 0.52, 0.48),
    "iris": (0.12, 0.07, 0.04),
    "pupil": (0.01, 0.01, 0.01),
    "teeth": (0.62, 0.56, 0.46),
    "tongue": (0.35, 0.12, 0.11),
}
_SEAM_TEXELS = 4


@dataclass(frozen=True)
class PreviewConfig:
    """How previews are drawn.

    Args:
        size: pixels a side.
        supersampling: drawn at this many times the size, then averaged.
        distance: of the camera from the head's origin, metres.
        field: height of what the image shows at that distance, metres.
        centre: what the head turns about and the camera looks at, world frame, metres.
        roughness: of the specular layer; None leaves the layer out.
        reflectance: of the specular layer at normal incidence.
        background: linear grey.
    """

    size: int = 512
    supersampling: int = 2
    distance: float = 1.2
    field: float = 0.34
    centre: tuple[float, float, float] = (0.0, -0.03, -0.06)
    roughness: float | None = SKIN_ROUGHNESS
    reflectance: float = SKIN_F0
    background: float = 0.05


def relight(
    asset: FaceAsset,
    environment: EnvironmentMap,
    model: FaceModel,
    occlusion: SurfaceOcclusion | None = None,
    rotation: Float[Tensor, "batch 3 3"] | None = None,
    config: PreviewConfig | None = None,
    rasterizer: Rasterizer | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Show faces in the light of an environment map.

    Diffuse light by order-2 SH with the shadows that the face casts on itself (in SH, too), and a glossy layer.

    Args:
        asset: faces; their own pose and light are not used.
        environment: batch of one, or one a face; the camera looks along its -z.
        model: of the faces.
        occlusion: what the face hides from itself; None leaves its shadows out.
        rotation: turns each head (world to view); None shows it from the front.
        config: how to draw.
        rasterizer: for the device of the asset.

    Returns:
        Linear RGB, not limited above.
    """
    config = config or PreviewConfig()
    batch = asset.vertices_world.shape[0]
    turn = torch.eye(3).to(asset.vertices_world).expand(batch, -1, -1) if rotation is None else rotation
    side = config.size * config.supersampling
    pose, camera = _preview_view(turn, side, config)
    vertices_view = world_to_view(asset.vertices_world, pose)
    fragments, buffer = render_gbuffer(model, vertices_view, camera, rasterizer)
    albedo = _surface_albedo(asset.uv_albedo, model, fragments, buffer, vertices_view, camera)
    light = project_to_sh(environment).expand(batch, -1, -1)
    received = irradiance(light, buffer.normal_view)
    openness = None
    if occlusion is not None:
        layers = torch.cat([occlusion.transfer, occlusion.openness[:, None]], dim=1)[None]
        layers = interpolate(fragments, model.triangles, layers.to(received))
        # The transfer lives in the head's frame, so the light is turned back into it.
        received = received + shadow_irradiance(layers[:, :9], rotate_sh(light, turn.transpose(1, 2)[:, None]))
        openness = layers[:, 9:]
    image = albedo * positive(received / torch.pi)
    if config.roughness is not None:
        image = image + _gloss(environment, buffer, openness, config)
    image = torch.where(buffer.coverage, image, config.background)
    return torch.nn.functional.avg_pool2d(image, config.supersampling)


def render_turntable(
    asset: FaceAsset,
    environment: EnvironmentMap,
    model: FaceModel,
    occlusion: SurfaceOcclusion | None = None,
    yaws_degrees: Sequence[float] = (-75.0, -50.0, -25.0, 0.0, 25.0, 50.0, 75.0),
    config: PreviewConfig | None = None,
    rasterizer: Rasterizer | None = None,
) -> Iterator[Float[Tensor, "batch 3 height width"]]:
    """Yield pictures of faces that turn about their vertical axis before a fixed camera, in fixed light.

    Args:
        asset: see `relight`, as for all others.
        environment: the light.
        model: of the faces.
        occlusion: what the face hides from itself.
        yaws_degrees: one picture each; positive turns the face to the right of the image.
        config: how to draw.
        rasterizer: for the device of the asset.
    """
    zero = asset.vertices_world.new_zeros(asset.vertices_world.shape[0])
    for yaw in yaws_degrees:
        turn = euler_degrees_to_matrix(zero + yaw, zero, zero)
        yield relight(asset, environment, model, occlusion, turn, config, rasterizer)


def _preview_view(turn: Tensor, side: int, config: PreviewConfig) -> tuple[Pose, Camera]:
    batch = turn.shape[0]
    shift = turn.new_tensor([0.0, 0.0, -config.distance]) - turn @ turn.new_tensor(config.centre)
    focal = turn.new_full((batch,), side * config.distance / config.field)
    return Pose(turn, shift), Camera(focal, turn.new_full((batch, 2), side / 2), side, side)


def _surface_albedo(
    uv_albedo: Tensor, model: FaceModel, fragments: Fragments, buffer: GBuffer, vertices_view: Tensor, camera: Camera
) -> Tensor:
    """Albedo from the atlas on skin, one colour a part elsewhere."""
    resolution = uv_albedo.shape[-1]
    filled = dilate_seams(uv_albedo, atlas_texels(model, resolution).mask, _SEAM_TEXELS)
    spans = texels_per_pixel(model, fragments, vertices_view, camera, resolution)
    skin = sample_uv(filled, buffer.uv, spans)
    palette = uv_albedo.new_tensor([PART_ALBEDO.get(name, PART_ALBEDO["skin"]) for name in model.part_names])
    part = model.triangle_part[fragments.triangle_id.clamp(min=0).long()]
    return torch.where(buffer.skin_coverage, skin, palette[part].permute(0, 3, 1, 2))


def _gloss(environment: EnvironmentMap, buffer: GBuffer, openness: Tensor | None, config: PreviewConfig) -> Tensor:
    assert config.roughness is not None  # noqa: S101 (for the type checker)
    light = specular_light(environment, config.roughness, config.reflectance)
    batch = buffer.normal_view.shape[0]
    expanded = EnvironmentMap(light.prefiltered.radiance.expand(batch, -1, -1, -1))
    to_camera = -torch.nn.functional.normalize(buffer.position_view, dim=1)
    shine = specular(type(light)(expanded, light.reflectance), buffer.normal_view, to_camera)
    return shine if openness is None else shine * openness
