"""Whole pictures of fabricated faces, with everything about them known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.fabricate.camera_response import CameraConfig, CameraResponse, apply_response, sample_response
from facealbedo.core.fabricate.natural_light import NaturalLight, NaturalLightConfig, sample_natural_light
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.face_model.skin_detail import DetailConfig, sample_detailed_albedo
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.lighting.envmap import EnvironmentMap, rotate_environment, sample_environment
from facealbedo.core.lighting.sh import irradiance, positive, rotate_sh
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.occlusion import SurfaceOcclusion, shadow_irradiance
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.render.specular import specular, specular_light
from facealbedo.core.render.uv import bake_region
from facealbedo.core.types import Camera, FaceCoefficients, Fragments, GBuffer, Pose, TensorRecord

# Linear albedo of everything that the atlas does not hold.
PART_ALBEDO = {
    "cavity": (0.10, 0.03, 0.03),
    "sclera": (0.58, 0.52, 0.48),
    "iris": (0.08, 0.045, 0.025),
    "pupil": (0.01, 0.01, 0.01),
    "teeth": (0.62, 0.55, 0.45),
    "tongue": (0.40, 0.14, 0.12),
}
# Lids and lashes take more light from the eye than the mesh's own shadow: there are no lashes on it.
LASH_SHADE = 0.65


@dataclass(frozen=True)
class PortraitConfig:
    """How portraits differ.

    Attributes:
        size_px: side of the picture. texture_px: side of the albedo map.
        yaw_degrees, pitch_degrees, roll_degrees: standard deviations of the pose.
        distance_m: median distance; log-normal with a spread of 0.2.
        face_share: height of the head over that of the picture, about.
        identity_sd: spread of the identity coefficients.
        noise_sd, blur_px: of sensor and lens.
        detail, light, camera: of the parts.
    """

    size_px: int = 512
    texture_px: int = 512
    yaw_degrees: float = 10.0
    pitch_degrees: float = 5.0
    roll_degrees: float = 4.0
    distance_m: float = 0.75
    face_share: float = 0.8
    identity_sd: float = 0.45
    noise_sd: float = 0.006
    blur_px: float = 0.5
    detail: DetailConfig = DetailConfig()
    light: NaturalLightConfig = NaturalLightConfig()
    camera: CameraConfig = CameraConfig()


@dataclass(frozen=True)
class Portraits(TensorRecord):
    """A batch of portraits and their truth.

    * ``image``: linear value of the developed picture's sRGB codes.
    * ``uv_albedo``: linear albedo; ``albedo_coeffs``: of the prior, whose tone is that of the core skin.
    * ``coefficients``, ``pose``, ``camera``, ``light``, ``response``: what it was made with.
    """

    image: Float[Tensor, "batch 3 height width"]
    uv_albedo: Float[Tensor, "batch 3 map_height map_width"]
    coefficients: FaceCoefficients
    pose: Pose
    camera: Camera
    light: NaturalLight
    response: CameraResponse


@dataclass(frozen=True, eq=False)
class Studio:
    """What all portraits share: models and environments, on one device."""

    model: FaceModel
    prior: AlbedoPrior
    occlusion: SurfaceOcclusion
    environments: EnvironmentMap
    environments_sh: Float[Tensor, "environment 3 25"]


def fabricate_portraits(
    studio: Studio,
    count: int,
    generator: torch.Generator,
    config: PortraitConfig | None = None,
    groups: Tensor | None = None,
) -> Portraits:
    """Fabricate portraits; the generator decides everything.

    Args:
        studio: models and environments.
        count: how many.
        generator: on the CPU.
        config: how they differ.
        groups: ITA group of each, as `AlbedoPrior.sample` takes them; balanced when omitted.
    """
    settings = config or PortraitConfig()
    albedo_coeffs = studio.prior.sample(count, generator, groups)
    detailed = sample_detailed_albedo(
        studio.prior, albedo_coeffs, generator, resolution=settings.texture_px, config=settings.detail
    )
    shape = _sample_shape(studio.model, count, generator, settings)
    pose, camera = _sample_view(studio.model, count, generator, settings)
    light = sample_natural_light(studio.environments, studio.environments_sh, count, generator, settings.light)
    radiance, face, shading, background = _render(studio, shape, pose, camera, light, detailed.uv_albedo, generator)
    response = sample_response(face, background, shading, generator, settings.camera)
    image = _photograph(radiance, response, generator, settings)
    coefficients = FaceCoefficients(shape.identity_coeffs, shape.expression_coeffs, detailed.albedo_coeffs)
    return Portraits(image, detailed.uv_albedo, coefficients, pose, camera, light, response)


def _sample_shape(
    model: FaceModel, count: int, generator: torch.Generator, settings: PortraitConfig
) -> FaceCoefficients:
    """Draw identity and a calm expression: a smile for some, a little of a few other units."""
    identity = torch.randn(count, model.identity_basis.shape[0], generator=generator) * settings.identity_sd
    names = list(model.expression_names)
    chance = torch.rand(count, len(names), generator=generator)
    expression = torch.where(chance > 0.93, torch.rand(chance.shape, generator=generator) * 0.3, 0.0)
    for stem, share in (("mouthSmile", 0.5), ("browInnerUp", 0.2), ("eyeSquint", 0.3)):
        amount = torch.rand(count, generator=generator) * 0.6
        amount = amount * (torch.rand(count, generator=generator) < share)
        for index, name in enumerate(names):
            if name.startswith(stem):
                expression[:, index] = torch.maximum(expression[:, index], amount)
    calm = torch.tensor([not name.startswith(("jaw", "eyeBlink", "eyeLook", "mouthClose")) for name in names])
    return FaceCoefficients(identity, expression * calm, torch.zeros(count, 0))


def _sample_view(
    model: FaceModel, count: int, generator: torch.Generator, settings: PortraitConfig
) -> tuple[Pose, Camera]:
    spread = torch.tensor([settings.yaw_degrees, settings.pitch_degrees, settings.roll_degrees])
    angles = (torch.randn(count, 3, generator=generator) * spread).clamp(-2.5 * spread, 2.5 * spread)
    rotation = euler_degrees_to_matrix(*angles.unbind(1))
    distance = settings.distance_m * (0.2 * torch.randn(count, generator=generator)).exp()
    size = settings.size_px
    face_height = model.landmarks(model.mean[None])[0, :, 1]
    height = (face_height.max() - face_height.min()) * 1.55
    focal = settings.face_share * size * distance / height
    middle = model.landmarks(model.mean[None])[0].mean(0)
    shift = torch.randn(count, 2, generator=generator) * 0.008
    target = torch.stack([shift[:, 0], shift[:, 1] + 0.01, -distance], dim=-1)
    translation = target - (rotation @ middle)
    camera = Camera(focal, torch.full((count, 2), size / 2), size, size)
    return Pose(rotation, translation), camera


def _render(
    studio: Studio,
    shape: FaceCoefficients,
    pose: Pose,
    camera: Camera,
    light: NaturalLight,
    uv_albedo: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return radiance, and the mean radiance and shading of the core skin and the mean radiance around the head."""
    model = studio.model
    view = world_to_view(model.decode(shape.identity_coeffs, shape.expression_coeffs), pose)
    normals = model.normals(view)
    fragments, buffer = render_gbuffer(model, view, camera, normals_view=normals)
    layers = torch.cat([studio.occlusion.transfer, studio.occlusion.openness[:, None]], dim=1)[None]
    layers = interpolate(fragments, model.triangles, layers)
    in_head = rotate_sh(light.sh_radiance[..., :9], pose.rotation.transpose(1, 2)[:, None])
    received = irradiance(light.sh_radiance, buffer.normal_view) + shadow_irradiance(layers[:, :9], in_head)
    shading = positive(received / math.pi)
    albedo = _albedo_of_pixels(model, fragments, buffer, uv_albedo)
    gloss = _gloss(studio, buffer, light, layers[:, 9:], generator)
    lit = albedo * shading + gloss * buffer.coverage
    surroundings = _surroundings(studio, camera, light)
    radiance = torch.where(buffer.coverage, lit, surroundings)
    core = sample_uv(bake_region(model, "core_skin", 128)[None, None], buffer.uv) * buffer.skin_coverage
    around = (~buffer.coverage).to(radiance)
    return (
        radiance,
        _weighted_mean(radiance, core),
        _weighted_mean(shading, core),
        _weighted_mean(radiance, around + 1e-6),
    )


def _weighted_mean(image: Tensor, weight: Tensor) -> Float[Tensor, "batch 3"]:
    return (image * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-6)


def _albedo_of_pixels(model: FaceModel, fragments: Fragments, buffer: GBuffer, uv_albedo: Tensor) -> Tensor:
    """Skin from the atlas, everything else by its part."""
    table = torch.full((len(model.part_names) + 1, 3), 0.3)
    for index, name in enumerate(model.part_names):
        if name in PART_ALBEDO:
            shade = LASH_SHADE if name in ("sclera", "iris", "pupil") else 1.0
            table[index] = torch.tensor(PART_ALBEDO[name]) * shade
    triangle = fragments.triangle_id.long()
    part = torch.where(triangle >= 0, model.triangle_part[triangle.clamp(min=0)], len(model.part_names))
    other = table[part].movedim(-1, 1)
    return torch.where(buffer.skin_coverage, sample_uv(uv_albedo, buffer.uv), other)


def _gloss(
    studio: Studio, buffer: GBuffer, light: NaturalLight, openness: Tensor, generator: torch.Generator
) -> Float[Tensor, "batch 3 height width"]:
    """Mirror reflection of the environment by oily skin and wet eyes."""
    to_camera = F.normalize(-buffer.position_view, dim=1)
    strength = torch.rand(len(openness), 1, 1, 1, generator=generator) * 1.2
    layers = []
    for index in range(len(openness)):
        chosen = EnvironmentMap(studio.environments.radiance[light.environment[index : index + 1]])
        turned = rotate_environment(chosen, light.rotation[index : index + 1])
        tinted = EnvironmentMap(turned.radiance * light.tint[index : index + 1, :, None, None])
        prepared = specular_light(tinted)
        layers.append(specular(prepared, buffer.normal_view[index : index + 1], to_camera[index : index + 1]))
    return torch.cat(layers) * openness * strength


def _surroundings(studio: Studio, camera: Camera, light: NaturalLight) -> Float[Tensor, "batch 3 height width"]:
    """The environment behind the head, out of focus (its map is coarse)."""
    count = len(light.rotation)
    columns = (torch.arange(camera.width) + 0.5 - camera.width / 2)[None, None, :] / camera.focal_px[:, None, None]
    rows = (camera.height / 2 - torch.arange(camera.height) - 0.5)[None, :, None] / camera.focal_px[:, None, None]
    shape = (count, camera.height, camera.width)
    # Seen wider than through the lens: a 64-texel map would be a single colour.
    view = torch.stack([columns.expand(shape) * 2, rows.expand(shape) * 2, -torch.ones(shape)], dim=-1)
    world = F.normalize(view, dim=-1).reshape(count, -1, 3) @ light.rotation
    chosen = EnvironmentMap(studio.environments.radiance[light.environment])
    colours = sample_environment(chosen, world) * light.tint[:, :, None]
    return colours.reshape(count, 3, camera.height, camera.width).clamp(min=0)


def _photograph(
    radiance: Tensor, response: CameraResponse, generator: torch.Generator, settings: PortraitConfig
) -> Float[Tensor, "batch 3 height width"]:
    """Lens blur, sensor noise, development."""
    if settings.blur_px > 0:
        reach = math.ceil(2 * settings.blur_px)
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / settings.blur_px) ** 2)
        taps = taps / taps.sum()
        padded = F.pad(radiance, (reach,) * 4, mode="replicate")
        kernel = taps.expand(3, 1, 1, -1)
        radiance = F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)
    developed = apply_response(response, radiance)
    noise = settings.noise_sd * torch.randn(developed.shape, generator=generator) * developed.clamp(min=1e-3).sqrt()
    return (developed + noise).clamp(0, 1)
