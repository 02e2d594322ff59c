"""Colour of everything that a picture of a face shows: skin from the atlas, eyes, teeth and mouth from the scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.eyes import eye_albedo, eye_directions
from facealbedo.core.export.face_scene import EYE_PARTS, EyeLayout, part_material, scene_layout
from facealbedo.core.export.textures import atlas_fill, resize_map
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import Fragments, GBuffer


@dataclass(frozen=True)
class SurfaceLook:
    """What the shader needs to know of every pixel; 0 where nothing is seen.

    ``albedo`` is linear diffuse reflectance; ``roughness`` and ``reflectance`` (at normal incidence) are the gloss.
    """

    albedo: Float[Tensor, "1 3 height width"]
    roughness: Float[Tensor, "1 1 height width"]
    reflectance: Float[Tensor, "1 1 height width"]


def filled_map(
    uv_map: Float[Tensor, "1 channel height width"], model: FaceModel, resolution: int
) -> Float[Tensor, "1 channel resolution resolution"]:
    """Resize an atlas map and repeat its border outside the atlas, so that it can be sampled bilinearly."""
    fill = atlas_fill(model, uv_map.shape[-1])
    flat = uv_map.flatten(2).clone()
    flat[..., torch.from_numpy(fill.outside)] = flat[..., torch.from_numpy(fill.nearest)]
    return resize_map(flat.reshape(uv_map.shape), resolution)


def read_map(
    uv_map: Float[Tensor, "1 channel map_height map_width"], uv: Float[Tensor, "1 2 height width"]
) -> Float[Tensor, "1 channel height width"]:
    """Read an atlas map bilinearly at every pixel: `render.sampling.sample_uv` without gradients, but fast."""
    height, width = uv_map.shape[-2:]
    table = np.ascontiguousarray(uv_map[0].movedim(0, -1).numpy())
    column, row = (uv[0, 0] * width - 0.5).numpy(), (uv[0, 1] * height - 0.5).numpy()
    read = cv2.remap(table, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(read.reshape(*column.shape, -1)).movedim(-1, 0)[None]


def surface_look(
    filled_albedo: Float[Tensor, "1 3 map_height map_width"],
    model: FaceModel,
    fragments: Fragments,
    gbuffer: GBuffer,
    vertices_view: Float[Tensor, "1 vertex 3"],
    config: ExportConfig,
) -> SurfaceLook:
    """Return colour and gloss at every pixel of one face.

    Args:
        filled_albedo: from `filled_map`.
        model: of the mesh.
        fragments: the mesh as seen.
        gbuffer: its geometry at the pixels.
        vertices_view: the mesh, in the frame of the g-buffer.
        config: the colour of the iris.
    """
    n_parts = len(model.part_names)
    triangle = fragments.triangle_id[0].long()
    part = torch.where(triangle >= 0, model.triangle_part[triangle.clamp(min=0)], n_parts)
    table = torch.zeros(n_parts + 1, 5)
    for index, name in enumerate(model.part_names):
        material = part_material(name)
        gloss = ((material.ior - 1) / (material.ior + 1)) ** 2
        table[index] = torch.tensor([*material.base_colour, material.roughness, gloss])
    look = table[part].movedim(-1, 0)[None]
    albedo = torch.where(gbuffer.skin_coverage, read_map(filled_albedo, gbuffer.uv), look[:, :3])
    positions = gbuffer.position_view[0].movedim(0, -1)
    for eye in scene_layout(model).eyes:
        chosen = _pixels_of_eye(part, positions, eye, model, vertices_view)
        albedo[0, :, chosen] = _eye_colour(positions[chosen], eye, vertices_view, config)
    return SurfaceLook(albedo, look[:, 3:4], look[:, 4:5])


def _pixels_of_eye(part: Tensor, positions: Tensor, eye: EyeLayout, model: FaceModel, vertices_view: Tensor) -> Tensor:
    """Bool [height, width]: pixels of an eye part that are nearer to this eye's middle than an eye's distance."""
    eye_parts = torch.tensor([index for index, name in enumerate(model.part_names) if name in EYE_PARTS])
    middle = vertices_view[0, torch.from_numpy(eye.vertices)].mean(dim=0)
    reach = (vertices_view[0, torch.from_numpy(eye.vertices)] - middle).norm(dim=-1).max()
    return torch.isin(part, eye_parts) & ((positions - middle).norm(dim=-1) < 1.05 * reach)


def _eye_colour(points: Tensor, eye: EyeLayout, vertices_view: Tensor, config: ExportConfig) -> Tensor:
    centre, axis = eye.centre_and_axis(vertices_view[0].double().numpy())
    theta, phi = eye_directions(points.double().numpy(), centre, axis)
    colour = eye_albedo(
        theta,
        phi,
        iris_half_angle=eye.iris_half_angle,
        pupil_half_angle=eye.pupil_half_angle,
        iris_albedo=config.iris_albedo,
    )
    return torch.from_numpy(colour.astype(np.float32)).T
