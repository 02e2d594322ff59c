"""The face under lights that it was never seen in: the proof of a relightable asset, and the pictures people look at.

Distant light, diffuse shading with the shadows that the head casts on itself (at its vertices, see `openness`), one
bounce in hollows, and a glossy layer. Linear until the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from facealbedo.core.export.appearance import filled_map, surface_look
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.face_scene import SKIN_ROUGHNESS, posed_vertices
from facealbedo.core.export.openness import LIFT_METRES, cosine_openness, sphere_directions, visible_share
from facealbedo.core.export.preview_lights import KeyLight, PreviewLight, Surroundings, preview_lights
from facealbedo.core.export.textures import srgb8_from_linear
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.lighting.sh import order_of, sh_basis
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.interpolate import sum_corners
from facealbedo.core.types import Camera, FaceAsset, Pose

N_SKY_DIRECTIONS = 96
_KEY_SAMPLES = 8
_KEY_MAP_PX = 256
# Values above this are rolled off, so that highlights keep their colour.
SHOULDER = 0.8
BACKGROUND = 0.105
_MAP_PX = 512
_SUPERSAMPLING = 1.5
_CAMERA_DISTANCE_METRES = 1.1
_FRAME_METRES = 0.25
_FRAME_CENTRE_METRES = (0.0, -0.012, -0.06)


@dataclass(frozen=True)
class Relit:
    """Square sRGB pictures and the names of their lights, in the order of `preview_lights.PREVIEW_LIGHTS`."""

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
    """A turned head as the camera sees it, as a list of the covered pixels.

    * ``covered``: the pixels that the list stands for; ``skin``: 1 for those of the atlas.
    * ``corners``, ``weights``: the seen triangle's vertices and their barycentrics.
    * ``normal``, ``towards_eye``: unit, view frame. ``albedo`` [P, 3], ``roughness`` [P, 1], ``reflectance`` [P, 1].
    """

    rotation: Float[Tensor, "3 3"]
    covered: Bool[Tensor, "height width"]
    skin: Float[Tensor, "point 1"]
    corners: Int[Tensor, "point 3"]
    weights: Float[Tensor, "point 3"]
    normal: Float[Tensor, "point 3"]
    towards_eye: Float[Tensor, "point 3"]
    albedo: Float[Tensor, "point 3"]
    roughness: Float[Tensor, "point 1"]
    reflectance: Float[Tensor, "point 1"]


def draw_relit(
    asset: FaceAsset, model: FaceModel, config: ExportConfig, surroundings: Sequence[Surroundings] = ()
) -> Relit:
    """Render one face under every light of `PREVIEW_LIGHTS`; given surroundings take the place of the last ones."""
    head = _head(asset, model, config)
    lights = preview_lights(surroundings)
    turns = {light.yaw_degrees for light in lights}
    views = {yaw: _view(head, model, yaw, config) for yaw in turns}
    images = []
    for light in lights:
        view = views[light.yaw_degrees]
        images.append(_picture(_light_at_camera(light, head, view, asset, model), view, config.relit_px))
    return Relit(images, tuple(light.name for light in lights))


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
    pose, camera = _stand(head.vertices, yaw_degrees, round(config.relit_px * _SUPERSAMPLING))
    vertices_view = world_to_view(head.vertices, pose)
    fragments, gbuffer = render_gbuffer(model, vertices_view, camera)
    look = surface_look(head.albedo, model, fragments, gbuffer, vertices_view, config)
    covered = fragments.coverage[0]

    def points(image: Tensor) -> Tensor:
        return image[0].movedim(0, -1)[covered]

    return _View(
        rotation=pose.rotation[0],
        covered=covered,
        skin=points(gbuffer.skin_coverage).float(),
        corners=model.triangles[fragments.triangle_id[0][covered].long()],
        weights=fragments.barycentrics[0][covered],
        normal=points(gbuffer.normal_view),
        towards_eye=-torch.nn.functional.normalize(points(gbuffer.position_view), dim=1),
        albedo=points(look.albedo),
        roughness=points(look.roughness),
        reflectance=points(look.reflectance),
    )


def _stand(like: Tensor, yaw_degrees: float, side: int) -> tuple[Pose, Camera]:
    """Return pose and camera of a head turned about its middle before a fixed camera."""
    angles = (like.new_tensor([value]) for value in (yaw_degrees, 0.0, 0.0))
    rotation = euler_degrees_to_matrix(*angles)
    centre = like.new_tensor(_FRAME_CENTRE_METRES)
    back = centre.new_tensor([0.0, 0.0, -_CAMERA_DISTANCE_METRES])
    focal = side * _CAMERA_DISTANCE_METRES / _FRAME_METRES
    camera = Camera(centre.new_tensor([focal]), centre.new_full((1, 2), side / 2), side, side)
    return Pose(rotation, (back - rotation[0] @ centre)[None]), camera


def _light_at_camera(
    light: PreviewLight, head: _Head, view: _View, asset: FaceAsset, model: FaceModel
) -> Float[Tensor, "point 3"]:
    """Linear light that reaches the camera: diffuse and glossy reflection of sky and keys."""
    diffuse = (4.0 / N_SKY_DIRECTIONS) * (head.sky_openness @ _sky_light(light, head, view, asset))
    reach = (4.0 / N_SKY_DIRECTIONS) * head.sky_openness.sum(dim=1, keepdim=True)
    unshadowed = []
    for key in light.keys:
        lit, seen = _key_at_vertices(key, head, view, model)
        diffuse = diffuse + lit * diffuse.new_tensor(key.colour)
        unshadowed.append(seen)
    points = sum_corners(torch.cat([diffuse, reach, *unshadowed], dim=1), view.corners, view.weights)
    shading, reach = points[:, :3], points[:, 3:4].clamp(0, 1)
    result = view.albedo * (shading + (1 - reach) * _bounce(shading, view)) + reach * _sky_gloss(light, view, asset)
    for index, key in enumerate(light.keys):
        result = result + points[:, 4 + index : 5 + index] * _key_gloss(key, view)
    return result


def _key_at_vertices(
    key: KeyLight, head: _Head, view: _View, model: FaceModel
) -> tuple[Float[Tensor, "vertex 1"], Float[Tensor, "vertex 1"]]:
    """Return cosine times visibility, and visibility alone, both averaged over the key's round face."""
    samples = key.samples(_KEY_SAMPLES).to(head.vertices) @ view.rotation
    lifted = head.vertices[0] + LIFT_METRES * head.normals[0]
    seen = visible_share(model, head.vertices[0], lifted, samples, map_px=_KEY_MAP_PX)
    cosine = (samples @ head.normals[0].T).clamp(min=0)
    return (seen * cosine).mean(dim=0)[:, None], seen.mean(dim=0)[:, None]


def _sky_light(light: PreviewLight, head: _Head, view: _View, asset: FaceAsset) -> Float[Tensor, "direction 3"]:
    """Radiance that arrives from the head's evenly spread directions."""
    if light.of_photo:
        return _photo_light(head.directions, asset)
    in_view = head.directions @ view.rotation.T
    if light.surroundings is None:
        return light.sky_radiance(in_view)
    # Each texel's energy goes to the nearest direction, so that none is lost between them.
    nearest = (light.surroundings.directions @ in_view.T).argmax(dim=1)
    total = torch.zeros_like(in_view).index_add_(0, nearest, light.surroundings.energy)
    return total * (N_SKY_DIRECTIONS / (4 * math.pi))


def _photo_light(directions_world: Float[Tensor, "direction 3"], asset: FaceAsset) -> Float[Tensor, "direction 3"]:
    """Radiance of the fitted light, as it lay on the face in the photo, whatever way the head is shown now."""
    sh = asset.lighting.sh_radiance[0]
    in_photo = directions_world @ asset.pose.rotation[0].T
    return (sh_basis(in_photo, order_of(sh.shape[-1])) @ sh.T).clamp(min=0)


def _bounce(shading: Float[Tensor, "point 3"], view: _View) -> Float[Tensor, "point 3"]:
    """Light that hollows get from the surface that shades them: of their own colour, under the skin's mean light."""
    mean = (shading * view.skin).sum(dim=0) / view.skin.sum().clamp(min=1)
    return view.albedo * mean


def _sky_gloss(light: PreviewLight, view: _View, asset: FaceAsset) -> Float[Tensor, "point 3"]:
    """Mirror image of the sky times the share that a rough dielectric reflects of even surroundings.

    The share is the polynomial fit of Karis, "Physically based shading on mobile" (2014).
    """
    cosine = _dot(view.normal, view.towards_eye)
    mirrored = 2 * cosine * view.normal - view.towards_eye
    smoothness = 1 - view.roughness
    falling = torch.minimum(smoothness**2, torch.exp2(-9.28 * cosine)) * smoothness + 0.0425 - 0.0275 * view.roughness
    scale = -1.04 * falling + 1.04 - 0.572 * view.roughness
    share = view.reflectance * scale + 1.04 * falling - 0.04 + 0.022 * view.roughness
    smooth = view.roughness < SKIN_ROUGHNESS / 2
    if light.of_photo:
        # The fit explains the photo's skin without gloss; only the eyes get some.
        return torch.where(smooth, share, 0.0) * _photo_light(mirrored @ view.rotation, asset)
    return share * light.mirrored_radiance(mirrored, smooth)


def _key_gloss(key: KeyLight, view: _View) -> Float[Tensor, "point 3"]:
    """GGX reflection of a key light, its width added to the roughness (Karis 2013)."""
    axis = torch.nn.functional.normalize(view.normal.new_tensor([key.direction]), dim=1)
    half = torch.nn.functional.normalize(axis + view.towards_eye, dim=1)
    n_l, n_v = _dot(view.normal, axis), _dot(view.normal, view.towards_eye).clamp(min=1e-3)
    n_h, v_h = _dot(view.normal, half).clamp(max=1), _dot(view.towards_eye, half).clamp(max=1)
    alpha = view.roughness**2
    wide = (alpha + math.radians(key.width) / 2).clamp(max=1)
    lobe = wide**2 / (math.pi * (n_h**2 * (wide**2 - 1) + 1).clamp(min=1e-6) ** 2)
    shape = 0.5 / (n_l * (n_v * (1 - alpha) + alpha) + n_v * (n_l * (1 - alpha) + alpha)).clamp(min=1e-4)
    fresnel = view.reflectance + (1 - view.reflectance) * (1 - v_h) ** 5
    return math.pi * lobe * shape * fresnel * n_l * axis.new_tensor(key.colour)


def _dot(first: Float[Tensor, "point 3"], second: Float[Tensor, "point_or_1 3"]) -> Float[Tensor, "point 1"]:
    """Cosine of unit vectors, 0 where they point apart."""
    return (first * second).sum(dim=1, keepdim=True).clamp(min=0)


def _picture(light: Float[Tensor, "point 3"], view: _View, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Roll highlights off, set the face on a neutral ground and shrink to ``side`` in linear light."""
    over = (light - SHOULDER).clamp(min=0) / (1 - SHOULDER)
    rolled = light.clamp(max=SHOULDER) + (1 - SHOULDER) * (1 - torch.exp(-over))
    shown = torch.full((*view.covered.shape, 3), BACKGROUND)
    shown[view.covered] = rolled
    small = cv2.resize(shown.numpy(), (side, side), interpolation=cv2.INTER_AREA)
    return srgb8_from_linear(torch.from_numpy(small).movedim(-1, 0))
