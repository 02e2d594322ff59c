"""The face under lights that it was never seen in: the proof of a relightable asset, and the pictures people look at.

Distant light, diffuse shading with the shadows that the head casts on itself (at its vertices, see `openness`), and a
glossy layer. Exposure does not look at the face: the same lights for everybody, so that dark skin stays dark and two
faces can be compared. Linear until the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.export.appearance import SurfaceLook, filled_map, surface_look
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.face_scene import SKIN_ROUGHNESS, posed_vertices
from facealbedo.core.export.openness import LIFT_METRES, cosine_openness, sphere_directions, visible_share
from facealbedo.core.export.textures import srgb8_from_linear
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.lighting.envmap import (
    EnvironmentMap,
    irradiance_by_summing,
    prefilter_ggx,
    sample_environment,
    solid_angles,
    texel_directions,
)
from facealbedo.core.lighting.sh import order_of, sh_basis
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.types import Camera, FaceAsset, Fragments, GBuffer, Pose

N_SKY_DIRECTIONS = 96
_KEY_SAMPLES = 8
_KEY_MAP_PX = 256
METERED_SHADING = 0.6
SUN_DEGREES = 9.0
# Values above this are rolled off, so that highlights keep their colour.
SHOULDER = 0.8
BACKGROUND = 0.105
_MAP_PX = 512
_SUPERSAMPLING = 1.5
_CAMERA_DISTANCE_METRES = 1.1
_FRAME_METRES = 0.25
_FRAME_CENTRE_METRES = (0.0, -0.012, -0.06)


@dataclass(frozen=True)
class KeyLight:
    """A round light far away: ``direction`` points to it (x right, y up, z to the viewer), ``colour`` is linear RGB of
    the shading that it alone gives a surface turned to it, ``width`` its softness in degrees.
    """

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    width: float


@dataclass(frozen=True)
class PreviewLight:
    """One picture of the strip: keys, a sky (colours from above, from the sides, from below), and the head's turn.

    ``surroundings`` stand in for the sky where they are given; ``of_photo`` takes the light that was fitted.
    """

    name: str
    keys: tuple[KeyLight, ...] = ()
    sky: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 0.0),) * 3
    yaw_degrees: float = 0.0
    of_photo: bool = False
    surroundings: Surroundings | None = None


@dataclass(frozen=True, eq=False)
class Surroundings:
    """An environment map prepared for previews: its sun is taken out of it and made a key light.

    * ``energy``: RGB radiance times solid angle of each texel without the sun; ``directions``: of the texels.
    * ``blurred``: what skin mirrors; ``sharp``: what eyes mirror (maps without the sun).
    """

    name: str
    energy: Float[Tensor, "texel 3"]
    directions: Float[Tensor, "texel 3"]
    blurred: EnvironmentMap
    sharp: EnvironmentMap
    sun: KeyLight


def prepare_surroundings(name: str, environment: EnvironmentMap) -> Surroundings:
    """Make an environment map ready for `draw_relit`; +z of the map is where the camera stands.

    The exposure is that of a photographer who meters the light, not the face: the mean shading of surfaces turned
    within 60 degrees of the camera comes to `METERED_SHADING`.
    """
    height = environment.radiance.shape[2]
    directions = texel_directions(height, environment.radiance).reshape(-1, 3)
    angles = solid_angles(height, environment.radiance).repeat_interleave(2 * height)
    facing = directions[directions[:, 2] > 0.5][None]
    metered = luminance(irradiance_by_summing(environment, facing)).mean() / math.pi
    energy = environment.radiance[0].flatten(1).T * angles[:, None] * (METERED_SHADING / metered)
    peak = directions[luminance(energy / angles[:, None]).argmax()]
    near = directions @ peak > math.cos(math.radians(SUN_DEGREES))
    # What the sun's surroundings would send without it: the median there stays in the map.
    kept = (energy / angles[:, None])[near].median(dim=0).values * angles[near][:, None]
    taken = (energy[near] - kept).clamp(min=0)
    rest = energy.clone()
    rest[near] = energy[near] - taken
    sun = taken.sum(dim=0)
    towards = torch.nn.functional.normalize((directions[near] * luminance(taken)[:, None]).sum(dim=0), dim=0)
    sharp = EnvironmentMap((rest / angles[:, None]).T.unflatten(1, (height, 2 * height))[None])
    return Surroundings(
        name=name,
        energy=rest,
        directions=directions,
        blurred=prefilter_ggx(sharp, SKIN_ROUGHNESS, height=16),
        sharp=sharp,
        sun=KeyLight(_triple(towards), _triple(sun / math.pi), SUN_DEGREES / 2),
    )


def _triple(values: Float[Tensor, "3"]) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


def _grey(value: float) -> tuple[tuple[float, float, float], ...]:
    return ((value, value, value),) * 3


PREVIEW_LIGHTS: tuple[PreviewLight, ...] = (
    PreviewLight("light of the photo", of_photo=True),
    PreviewLight(
        "front, soft",
        (KeyLight((0.12, 0.35, 1.0), (0.8, 0.8, 0.8), 30.0),),
        _grey(0.22),
    ),
    PreviewLight("left", (KeyLight((-1.0, 0.25, 0.45), (1.1, 1.1, 1.1), 14.0),), _grey(0.07)),
    PreviewLight("right", (KeyLight((1.0, 0.25, 0.45), (1.1, 1.1, 1.1), 14.0),), _grey(0.07)),
    PreviewLight("top", (KeyLight((0.0, 1.0, 0.42), (1.15, 1.15, 1.15), 14.0),), _grey(0.09)),
    PreviewLight(
        "warm and cool",
        (
            KeyLight((-1.0, 0.15, 0.25), (1.15, 0.62, 0.28), 16.0),
            KeyLight((1.0, 0.2, 0.3), (0.25, 0.5, 1.05), 16.0),
        ),
        _grey(0.05),
    ),
    PreviewLight(
        "surroundings 1",
        (KeyLight((0.55, 0.75, 0.6), (0.85, 0.78, 0.66), 8.0),),
        ((0.42, 0.52, 0.70), (0.30, 0.32, 0.34), (0.12, 0.13, 0.10)),
        yaw_degrees=-32.0,
    ),
    PreviewLight(
        "surroundings 2",
        (
            KeyLight((-0.85, 0.12, 0.35), (1.25, 0.74, 0.36), 7.0),
            KeyLight((0.9, 0.3, -0.75), (0.35, 0.42, 0.6), 18.0),
        ),
        ((0.20, 0.24, 0.34), (0.20, 0.16, 0.15), (0.09, 0.07, 0.05)),
        yaw_degrees=32.0,
    ),
)
RELIT_LIGHTS: tuple[str, ...] = tuple(light.name for light in PREVIEW_LIGHTS)


@dataclass(frozen=True)
class Relit:
    """Square sRGB pictures and the names of their lights."""

    images: list[UInt8[np.ndarray, "side side 3"]]
    lights: tuple[str, ...]


@dataclass(frozen=True)
class _Head:
    """A head in its own frame and what of the surroundings its vertices see.

    ``sky_openness`` [V, D]: visibility times cosine of evenly spread directions.
    """

    vertices: Float[Tensor, "1 vertex 3"]
    normals: Float[Tensor, "1 vertex 3"]
    albedo: Float[Tensor, "1 3 map_height map_width"]
    directions: Float[Tensor, "direction 3"]
    sky_openness: Float[Tensor, "vertex direction"]


@dataclass(frozen=True)
class _View:
    """A turned head as the camera sees it."""

    rotation: Float[Tensor, "3 3"]
    fragments: Fragments
    gbuffer: GBuffer
    look: SurfaceLook
    towards_eye: Float[Tensor, "1 3 height width"]


def draw_relit(
    asset: FaceAsset, model: FaceModel, config: ExportConfig, surroundings: Sequence[Surroundings] = ()
) -> Relit:
    """Render one face under every light of `PREVIEW_LIGHTS`; given surroundings take the place of the last ones."""
    head = _head(asset, model, config)
    lights = preview_lights(surroundings)
    views: dict[float, _View] = {}
    images = []
    for light in lights:
        if light.yaw_degrees not in views:
            views[light.yaw_degrees] = _view(head, model, light.yaw_degrees, config)
        view = views[light.yaw_degrees]
        images.append(_picture(_radiance_at_camera(light, head, view, asset, model), view, config.relit_px))
    return Relit(images, tuple(light.name for light in lights))


def preview_lights(surroundings: Sequence[Surroundings] = ()) -> tuple[PreviewLight, ...]:
    """Return the lights of the strip, the last ones replaced by the given surroundings.

    Raises:
        ValueError: there are more surroundings than places for them.
    """
    places = sum(light.name.startswith("surroundings") for light in PREVIEW_LIGHTS)
    if len(surroundings) > places:
        raise ValueError(f"the strip has room for {places} surroundings, got {len(surroundings)}")
    first = len(PREVIEW_LIGHTS) - places
    replaced = tuple(
        PreviewLight(given.name, (given.sun,), yaw_degrees=light.yaw_degrees, surroundings=given)
        for given, light in zip(surroundings, PREVIEW_LIGHTS[first:], strict=False)
    )
    return (*PREVIEW_LIGHTS[:first], *replaced, *PREVIEW_LIGHTS[first + len(replaced) :])


def _head(asset: FaceAsset, model: FaceModel, config: ExportConfig) -> _Head:
    vertices, _ = posed_vertices(asset, model, replace(config, morph_targets=False))
    normals = model.normals(vertices)
    directions = sphere_directions(N_SKY_DIRECTIONS)
    return _Head(
        vertices=vertices,
        normals=normals,
        albedo=filled_map(asset.uv_albedo, model, _MAP_PX),
        directions=directions,
        sky_openness=cosine_openness(model, vertices[0], normals[0], directions),
    )


def _view(head: _Head, model: FaceModel, yaw_degrees: float, config: ExportConfig) -> _View:
    side = round(config.relit_px * _SUPERSAMPLING)
    angles = (head.vertices.new_tensor([value]) for value in (yaw_degrees, 0.0, 0.0))
    rotation = euler_degrees_to_matrix(*angles)
    centre = head.vertices.new_tensor(_FRAME_CENTRE_METRES)
    back = centre.new_tensor([0.0, 0.0, -_CAMERA_DISTANCE_METRES])
    pose = Pose(rotation, (back - rotation[0] @ centre)[None])
    focal = side * _CAMERA_DISTANCE_METRES / _FRAME_METRES
    camera = Camera(centre.new_tensor([focal]), centre.new_full((1, 2), side / 2), side, side)
    vertices_view = world_to_view(head.vertices, pose)
    fragments, gbuffer = render_gbuffer(model, vertices_view, camera)
    look = surface_look(head.albedo, model, fragments, gbuffer, vertices_view, config)
    towards_eye = -torch.nn.functional.normalize(gbuffer.position_view, dim=1)
    return _View(rotation[0], fragments, gbuffer, look, towards_eye)


def _radiance_at_camera(
    light: PreviewLight, head: _Head, view: _View, asset: FaceAsset, model: FaceModel
) -> Float[Tensor, "1 3 height width"]:
    """Linear light that reaches the camera: diffuse and glossy reflection of sky and keys."""
    diffuse = (4.0 / N_SKY_DIRECTIONS) * (head.sky_openness @ _sky_radiance(light, head, view, asset))
    reach = (4.0 / N_SKY_DIRECTIONS) * head.sky_openness.sum(dim=1, keepdim=True)
    shadows = []
    for key in light.keys:
        lit, shadow = _key_at_vertices(key, head, view, model)
        diffuse = diffuse + lit * diffuse.new_tensor(key.colour)
        shadows.append(shadow)
    layers = torch.cat([diffuse, reach, *shadows], dim=1)[None]
    pixels = interpolate(view.fragments, model.triangles, layers)
    shading, reach = pixels[:, :3], pixels[:, 3:4].clamp(0, 1)
    shading = shading + (1 - reach) * _bounce(shading, view)
    result = view.look.albedo * shading + reach * _sky_gloss(light, view, asset)
    for index, key in enumerate(light.keys):
        result = result + pixels[:, 4 + index : 5 + index] * _key_gloss(key, view)
    return result


def _key_at_vertices(
    key: KeyLight, head: _Head, view: _View, model: FaceModel
) -> tuple[Float[Tensor, "vertex 1"], Float[Tensor, "vertex 1"]]:
    """Return cosine times visibility, and visibility alone, both averaged over the key's round face."""
    samples = _disk(key, head.vertices) @ view.rotation
    lifted = head.vertices[0] + LIFT_METRES * head.normals[0]
    seen = visible_share(model, head.vertices[0], lifted, samples, map_px=_KEY_MAP_PX)
    cosine = (samples @ head.normals[0].T).clamp(min=0)
    return (seen * cosine).mean(dim=0)[:, None], seen.mean(dim=0)[:, None]


def _disk(key: KeyLight, like: Tensor) -> Float[Tensor, "sample 3"]:
    """Return directions spread evenly over the round face of a key light (view frame)."""
    axis = torch.nn.functional.normalize(like.new_tensor(key.direction), dim=0)
    helper = like.new_tensor([0.0, 1.0, 0.0] if abs(float(axis[1])) < 0.9 else [1.0, 0.0, 0.0])
    right = torch.nn.functional.normalize(torch.linalg.cross(helper, axis), dim=0)
    up = torch.linalg.cross(axis, right)
    index = torch.arange(_KEY_SAMPLES, dtype=like.dtype)
    radius = math.tan(math.radians(key.width)) * ((index + 0.5) / _KEY_SAMPLES).sqrt()
    turn = index * (math.pi * (3 - math.sqrt(5)))
    offsets = (radius * turn.cos())[:, None] * right + (radius * turn.sin())[:, None] * up
    return torch.nn.functional.normalize(axis + offsets, dim=1)


def _sky_radiance(light: PreviewLight, head: _Head, view: _View, asset: FaceAsset) -> Float[Tensor, "direction 3"]:
    """Radiance that arrives from the head's evenly spread directions."""
    if light.of_photo:
        return _photo_light(head.directions, asset)
    in_view = head.directions @ view.rotation.T
    if light.surroundings is None:
        return _sky(in_view, light)
    # Each texel's energy goes to the nearest direction, so that none is lost between them.
    nearest = (light.surroundings.directions @ in_view.T).argmax(dim=1)
    total = torch.zeros_like(in_view).index_add_(0, nearest, light.surroundings.energy)
    return total * (N_SKY_DIRECTIONS / (4 * math.pi))


def _sky(directions: Float[Tensor, "*shape 3"], light: PreviewLight) -> Float[Tensor, "*shape 3"]:
    """Radiance of the sky from directions in the view frame: a gradient over height."""
    up, side, down = (directions.new_tensor(colour) for colour in light.sky)
    height = directions[..., 1:2]
    towards = torch.where(height > 0, up, down)
    return side + (towards - side) * height.abs() ** 0.7


def _photo_light(directions_world: Float[Tensor, "*shape 3"], asset: FaceAsset) -> Float[Tensor, "*shape 3"]:
    """Radiance of the fitted light, as it lay on the face in the photo, whatever way the head is shown now."""
    sh = asset.lighting.sh_radiance[0]
    in_photo = directions_world @ asset.pose.rotation[0].T
    return (sh_basis(in_photo, order_of(sh.shape[-1])) @ sh.T).clamp(min=0)


def _bounce(shading: Float[Tensor, "1 3 height width"], view: _View) -> Float[Tensor, "1 3 height width"]:
    """Light that hollows get from the surface that shades them: of their own colour, under the skin's mean light."""
    seen = view.gbuffer.skin_coverage.to(shading.dtype)
    mean = (shading * seen).sum((2, 3), keepdim=True) / seen.sum().clamp(min=1)
    return view.look.albedo * mean


def _sky_gloss(light: PreviewLight, view: _View, asset: FaceAsset) -> Float[Tensor, "1 3 height width"]:
    """Mirror image of the sky times the share that a rough dielectric reflects of even surroundings.

    The share is the polynomial fit of Karis, "Physically based shading on mobile" (2014).
    """
    normal, towards_eye = view.gbuffer.normal_view, view.towards_eye
    cosine = (normal * towards_eye).sum(1, keepdim=True).clamp(min=0)
    mirrored = (2 * cosine * normal - towards_eye)[0].movedim(0, -1)
    roughness = view.look.roughness
    first = 1 - roughness
    shape = torch.minimum(first * first, torch.exp2(-9.28 * cosine)) * first + 0.0425 - 0.0275 * roughness
    scale = -1.04 * shape + 1.04 - 0.572 * roughness
    offset = 1.04 * shape - 0.04 + 0.022 * roughness
    share = view.look.reflectance * scale + offset
    if light.of_photo:
        # The fit explains the photo's skin without gloss; only the eyes get some.
        share = torch.where(roughness < SKIN_ROUGHNESS / 2, share, 0.0)
        return share * _photo_light(mirrored @ view.rotation, asset).movedim(-1, 0)[None]
    return share * _mirrored_sky(light, mirrored, roughness)


def _mirrored_sky(
    light: PreviewLight, directions: Float[Tensor, "height width 3"], roughness: Float[Tensor, "1 1 height width"]
) -> Float[Tensor, "1 3 height width"]:
    """Radiance of sky or surroundings in mirrored directions (view frame), blurred where the surface is rough."""
    if light.surroundings is None:
        return _sky(directions, light).movedim(-1, 0)[None]
    flat = directions.reshape(1, -1, 3)
    blurred = sample_environment(light.surroundings.blurred, flat).unflatten(2, directions.shape[:2])
    sharp = sample_environment(light.surroundings.sharp, flat).unflatten(2, directions.shape[:2])
    return torch.where(roughness > SKIN_ROUGHNESS / 2, blurred, sharp)


def _key_gloss(key: KeyLight, view: _View) -> Float[Tensor, "1 3 height width"]:
    """GGX reflection of a key light, its width added to the roughness (Karis 2013)."""
    normal, towards_eye = view.gbuffer.normal_view, view.towards_eye
    axis = torch.nn.functional.normalize(normal.new_tensor(key.direction), dim=0).view(1, 3, 1, 1)
    half = torch.nn.functional.normalize(axis + towards_eye, dim=1)
    n_l = (normal * axis).sum(1, keepdim=True).clamp(min=0)
    n_v = (normal * towards_eye).sum(1, keepdim=True).clamp(min=1e-3)
    n_h = (normal * half).sum(1, keepdim=True).clamp(0, 1)
    v_h = (towards_eye * half).sum(1, keepdim=True).clamp(0, 1)
    alpha = view.look.roughness**2
    wide = (alpha + math.radians(key.width) / 2).clamp(max=1)
    lobe = wide**2 / (math.pi * (n_h**2 * (wide**2 - 1) + 1).clamp(min=1e-6) ** 2)
    shape = 0.5 / (n_l * (n_v * (1 - alpha) + alpha) + n_v * (n_l * (1 - alpha) + alpha)).clamp(min=1e-4)
    fresnel = view.look.reflectance + (1 - view.look.reflectance) * (1 - v_h) ** 5
    return math.pi * lobe * shape * fresnel * n_l * normal.new_tensor(key.colour).view(1, 3, 1, 1)


def _picture(radiance: Float[Tensor, "1 3 height width"], view: _View, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Roll highlights off, set the face on a neutral ground and shrink to ``side`` in linear light."""
    over = (radiance - SHOULDER).clamp(min=0) / (1 - SHOULDER)
    rolled = torch.minimum(radiance, radiance.new_tensor(SHOULDER)) + (1 - SHOULDER) * (1 - torch.exp(-over))
    shown = torch.where(view.gbuffer.coverage, rolled, BACKGROUND)[0].movedim(0, -1).contiguous().numpy()
    small = cv2.resize(shown, (side, side), interpolation=cv2.INTER_AREA)
    return srgb8_from_linear(torch.from_numpy(small).movedim(-1, 0))
