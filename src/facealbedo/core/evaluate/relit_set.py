"""The benchmark set `relit`: fabricated people, path traced under several lights, with everything known.

Deterministic: a person is decided by the set's seed and a number, not by how many others there are. Groups take turns,
and every other person has marks (`core.evaluate.marked_skin`): the stratum "marked", beside "plain". Environments are
ones that no training and no estimator saw. Photos are exposed as a camera would (its meter errs) and have no tone
curve, so that linear truth and picture differ by one gain a colour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.evaluate.denoise import smooth_light
from facealbedo.core.evaluate.marked_skin import draw_marks, draw_skin
from facealbedo.core.evaluate.path_tracer import PART_ALBEDO, TraceConfig, TracedFace, TraceScene, trace
from facealbedo.core.fabricate.camera_response import CameraResponse, sample_response
from facealbedo.core.fabricate.portrait import Studio
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import axis_angle_to_matrix, euler_degrees_to_matrix
from facealbedo.core.lighting.envmap import EnvironmentMap, texel_directions
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.render.uv import bake_region
from facealbedo.core.types import Camera, FaceCoefficients, Fragments, GBuffer, Pose, TensorRecord

GROUPS = 6
_SHARPEST_LAMP = math.radians(9)


@dataclass(frozen=True)
class RelitConfig:
    """Size of the set.

    Attributes:
        people_per_group: fabricated people of each ITA group.
        lights: photos of each person, each in another light; poses alternate between two.
        targets: relit views of each person from the front, in environments of their own.
        photo_px, target_px, texture_px: sides of photos, targets and albedo maps.
        photo_trace, target_trace: work of the path tracer.
        seed: of the set; far from the seeds of training.
    """

    people_per_group: int = 6
    lights: int = 5
    targets: int = 2
    photo_px: int = 384
    target_px: int = 256
    texture_px: int = 512
    photo_trace: TraceConfig = TraceConfig(samples=24, gloss_samples=8)
    target_trace: TraceConfig = TraceConfig(samples=40, gloss_samples=12)
    seed: int = 7_700_000_000

    @property
    def people(self) -> int:
        """How many people the whole set has."""
        return GROUPS * self.people_per_group


@dataclass(frozen=True)
class RelitView(TensorRecord):
    """A path-traced view of a person.

    * ``image``: linear, exposed, what a photo's codes decode to (before clipping and rounding).
    * ``shading``: diffuse light / albedo in the image's units; ``gloss``: reflection in the image's units; both
      [1, 3, height, width], 0 off the head.
    * ``pose``, ``camera``: of the view.
    * ``gain``: exposure, a colour. ``environment``: index of the map; ``lamp``: strength of the added lamp.
    """

    image: Float[Tensor, "1 3 height width"]
    shading: Float[Tensor, "1 3 height width"]
    gloss: Float[Tensor, "1 3 height width"]
    pose: Pose
    camera: Camera
    gain: Float[Tensor, "1 3"]
    environment: int
    lamp: float


@dataclass(frozen=True)
class RelitPerson:
    """A person of the set: truth, photos and relit targets.

    Attributes:
        number: of the person. group: index into `colour.ITA_GROUPS`.
        marks: what marks the skin has, of `marked_skin.MARKS`; none of a plain person.
        coefficients: shape, expression, and the skin's tone and anatomy.
        uv_albedo: linear truth; uv_unmarked: what it would be without the marks.
    """

    number: int
    group: int
    marks: tuple[str, ...]
    coefficients: FaceCoefficients
    uv_albedo: Float[Tensor, "1 3 height width"]
    uv_unmarked: Float[Tensor, "1 3 height width"]
    photos: tuple[RelitView, ...]
    targets: tuple[RelitView, ...]

    @property
    def stratum(self) -> str:
        """``marked`` or ``plain``."""
        return "marked" if self.marks else "plain"


def is_marked(number: int) -> bool:
    """Say whether a person has marks: of each group every other one, of two neighbouring numbers one."""
    return (number + number // GROUPS) % 2 == 1


def make_person(studio: Studio, config: RelitConfig, number: int) -> RelitPerson:
    """Fabricate and path trace one person.

    Args:
        studio: models, and environments that nothing was trained on: the last two light the targets, the others the
            photos.
        config: of the set.
        number: which person; groups take turns.
    """
    generator = torch.Generator().manual_seed(config.seed + 1009 * number)
    group = number % GROUPS
    coefficients = _draw_face(studio, generator, group)
    marks = draw_marks(number // 2, generator) if is_marked(number) else ()
    drawn = draw_skin(studio.prior, coefficients.albedo_coeffs, generator, config.texture_px, group, marks)
    skin = _Skin(drawn.uv_albedo, _uniform(generator, 0.38, 0.55), _uniform(generator, 0.3, 1.1))
    poses = [_draw_pose(studio.model, generator, turned) for turned in (False, True)]
    photo_maps, target_maps = _split(len(studio.environments_sh))
    photos = []
    for light in range(config.lights):
        lamp = 0.0 if light % 5 < 3 else _uniform(generator, 0.6, 1.6)
        world = _draw_light(studio, generator, photo_maps[light % len(photo_maps)], lamp)
        view = (poses[light % 2], config.photo_px, config.photo_trace)
        photos.append(_view(studio, coefficients, skin, world, view, generator, 100 * number + light))
    targets = []
    front = Pose(torch.eye(3)[None], _middle_at(studio.model, torch.eye(3)[None], 0.8))
    for light in range(config.targets):
        world = _draw_light(studio, generator, target_maps[light % len(target_maps)], 0.0)
        view = (front, config.target_px, config.target_trace)
        targets.append(_view(studio, coefficients, skin, world, view, generator, 100 * number + 50 + light))
    return RelitPerson(
        number, group, marks, coefficients, drawn.uv_albedo, drawn.uv_unmarked, tuple(photos), tuple(targets)
    )


@dataclass(frozen=True)
class _Skin:
    uv_albedo: Tensor
    roughness: float
    gloss: float


@dataclass(frozen=True)
class _Light:
    """An environment with a lamp burnt in, and how it is turned into the view."""

    index: int
    environment: EnvironmentMap
    world_to_view: Tensor
    lamp: float


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _split(environments: int) -> tuple[list[int], list[int]]:
    """Environments of photos and of targets."""
    indices = list(range(environments))
    return indices[:-2], indices[-2:]


def _draw_face(studio: Studio, generator: torch.Generator, group: int) -> FaceCoefficients:
    """Draw an identity, a calm or smiling expression, and an albedo of the ITA group."""
    model = studio.model
    identity = 0.45 * torch.randn(1, model.identity_basis.shape[0], generator=generator)
    names = model.expression_names
    amount = _uniform(generator, 0.0, 0.7) * (_uniform(generator, 0, 1) < 0.6)
    brows = _uniform(generator, 0.0, 0.5) * (_uniform(generator, 0, 1) < 0.3)
    level = {"mouthSmile": amount, "cheekSquint": amount / 2, "browInnerUp": brows, "jawOpen": 0.25 * amount}
    expression = torch.tensor(
        [[max((v for k, v in level.items() if name.startswith(k)), default=0.0) for name in names]]
    )
    albedo = studio.prior.sample(1, generator, torch.tensor([group]))
    return FaceCoefficients(identity, expression, albedo)


def _draw_pose(model: FaceModel, generator: torch.Generator, turned: bool) -> Pose:
    """A nearly frontal or a turned head."""
    side = 1.0 if _uniform(generator, 0, 1) < 0.5 else -1.0
    yaw = side * (_uniform(generator, 15, 30) if turned else _uniform(generator, 0, 8))
    angles = torch.tensor([[yaw, _uniform(generator, -8, 8), _uniform(generator, -5, 5)]])
    rotation = euler_degrees_to_matrix(*angles.unbind(1))
    return Pose(rotation, _middle_at(model, rotation, _uniform(generator, 0.55, 1.1)))


def _middle_at(model: FaceModel, rotation: Tensor, distance: float) -> Float[Tensor, "1 3"]:
    """Translation that puts the middle of the face on the camera's axis."""
    middle = model.landmarks(model.mean[None])[0].mean(0)
    return torch.tensor([[0.0, 0.0, -distance]]) - rotation @ middle


def _draw_light(studio: Studio, generator: torch.Generator, index: int, lamp: float) -> _Light:
    """Turn an environment at random and burn a lamp into it, to one side of the camera."""
    tilt = 0.1 * torch.randn(1, 3, generator=generator)
    tilt[:, 1] = 2 * math.pi * torch.rand(1, generator=generator)
    rotation = axis_angle_to_matrix(tilt * torch.tensor([1.0, 0, 1.0])) @ axis_angle_to_matrix(
        tilt * torch.tensor([0.0, 1.0, 0.0])
    )
    azimuth = (0.5 + 0.8 * torch.rand(1, generator=generator)) * torch.randn(1, generator=generator).sign()
    elevation = 0.15 + 0.6 * torch.rand(1, generator=generator)
    view = torch.cat([azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()])
    radiance = studio.environments.radiance[index : index + 1]
    if lamp > 0:
        directions = texel_directions(radiance.shape[2], radiance)
        cosine = directions @ (view @ rotation[0])
        lobe = torch.exp((cosine - 1) / (1 - math.cos(_SHARPEST_LAMP)))
        # Irradiance / pi of the lobe on a surface that faces it is about its integral / pi.
        integral = 2 * math.pi * (1 - math.cos(_SHARPEST_LAMP))
        warm = torch.tensor([1.12, 1.0, 0.82])
        radiance = radiance + lamp * math.pi / integral * lobe * warm[None, :, None, None]
    return _Light(index, EnvironmentMap(radiance), rotation[0], lamp)


def _view(
    studio: Studio,
    coefficients: FaceCoefficients,
    skin: _Skin,
    light: _Light,
    view: tuple[Pose, int, TraceConfig],
    generator: torch.Generator,
    seed: int,
) -> RelitView:
    """Path trace and expose one view."""
    pose, size, work = view
    model = studio.model
    camera = _camera(model, pose, size)
    vertices = world_to_view(model.decode(coefficients.identity_coeffs, coefficients.expression_coeffs), pose)
    scene = TraceScene(
        model,
        vertices[0],
        skin.uv_albedo[0],
        camera,
        light.environment,
        light.world_to_view,
        skin.roughness,
        skin.gloss,
    )
    traced = trace(scene, work, seed)
    fragments, buffer = render_gbuffer(model, vertices, camera)
    albedo = albedo_image(model, fragments, buffer, skin.uv_albedo)
    layers = _layers(traced, albedo, buffer)
    core = sample_uv(bake_region(model, "core_skin", 128)[None, None], buffer.uv) * buffer.skin_coverage
    response = _expose(layers, traced, buffer, core, generator)
    gain = response.gain[:, :, None, None]
    image = torch.where(buffer.coverage, albedo * layers[0] + layers[1], traced.diffuse[None])
    return RelitView(
        image * gain, layers[0] * gain, layers[1] * gain, pose, camera, response.gain, light.index, light.lamp
    )


def _camera(model: FaceModel, pose: Pose, size: int) -> Camera:
    """A lens in whose picture the head takes about four fifths of the height."""
    landmarks = model.landmarks(model.mean[None])[0]
    height = 1.55 * float(landmarks[:, 1].max() - landmarks[:, 1].min())
    distance = -float((pose.rotation @ landmarks.mean(0) + pose.translation)[0, 2])
    focal = torch.tensor([0.8 * size * distance / height])
    return Camera(focal, torch.full((1, 2), size / 2), size, size)


def albedo_image(
    model: FaceModel, fragments: Fragments, buffer: GBuffer, uv_albedo: Float[Tensor, "1 3 map_height map_width"]
) -> Float[Tensor, "1 3 height width"]:
    """Return the albedo of what each pixel shows: skin from the map, everything else by its part; 1 off the head."""
    table = torch.tensor([PART_ALBEDO.get(name, (1.0, 1.0, 1.0)) for name in model.part_names])
    part = model.triangle_part[fragments.triangle_id.long().clamp(min=0)]
    other = torch.where(buffer.coverage, table[part].movedim(-1, 1), 1.0)
    return torch.where(buffer.skin_coverage, sample_uv(uv_albedo, buffer.uv).clamp(min=1e-3), other)


def _layers(traced: TracedFace, albedo: Tensor, buffer: GBuffer) -> tuple[Tensor, Tensor]:
    """Shading and gloss with less noise, 0 off the head."""
    shading = smooth_light(traced.diffuse / albedo[0], buffer)
    gloss = smooth_light(traced.gloss, buffer)
    return torch.where(buffer.coverage, shading[None], 0.0), torch.where(buffer.coverage, gloss[None], 0.0)


def _expose(
    layers: tuple[Tensor, Tensor], traced: TracedFace, buffer: GBuffer, core: Tensor, generator: torch.Generator
) -> CameraResponse:
    """Meter the scene as `core.fabricate` does; no tone curve, no change of saturation."""

    def mean(image: Tensor, weight: Tensor) -> Tensor:
        return (image * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-6)

    around = (~buffer.coverage).to(core)
    radiance = (traced.diffuse + traced.gloss)[None]
    response = sample_response(mean(radiance, core), mean(radiance, around), mean(layers[0], core), generator)
    return replace(
        response,
        contrast=torch.zeros(1),
        saturation=torch.ones(1),
        rolloff=torch.zeros(1),
    )
