"""A distant lamp on fabricated faces: hard light with cast shadows and highlights, which no spherical harmonics hold.

Shadows come from a shadow map: the head's depth as the lamp sees it, compared at several places (percentage-closer
filtering, Reeves et al. 1987), so that a large lamp has soft shadows.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from facealbedo.core.geometry.projection import project
from facealbedo.core.render.gbuffer import unit
from facealbedo.core.render.rasterize import Rasterizer
from facealbedo.core.types import Camera

# A lamp this far away, metres, has about parallel rays; its map is this wide, metres and texels.
DISTANCE, WIDTH, SIZE = 8.0, 0.40, 256
# Surfaces nearer to the lamp than this do not shade, metres: less than a nose, more than the map's depth error.
BIAS = 0.004
TAPS = ((0.0, 0.0), (0.9, 0.3), (-0.3, 0.9), (-0.9, -0.3), (0.3, -0.9), (0.45, 0.75), (-0.75, 0.45), (-0.45, -0.75))


def facing(direction: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Rotations from the view frame into frames whose +z axis is ``direction`` (unit)."""
    vertical, sideways = direction.new_tensor([0.0, 1.0, 0.0]), direction.new_tensor([1.0, 0.0, 0.0])
    up = torch.where(direction[:, 1:2].abs() < 0.9, vertical, sideways)
    right = unit(torch.linalg.cross(up, direction))
    return torch.stack([right, torch.linalg.cross(direction, right), direction], dim=1)


def lamp_visibility(
    vertices_view: Float[Tensor, "batch vertex 3"],
    triangles: Tensor,
    position_view: Float[Tensor, "batch 3 height width"],
    direction: Float[Tensor, "batch 3"],
    softness_m: Float[Tensor, "batch"],
    rasterizer: Rasterizer,
) -> Float[Tensor, "batch 1 height width"]:
    """Return the share of the lamp that each point sees past the mesh.

    Args:
        vertices_view: of the mesh, metres.
        triangles: of the mesh.
        position_view: points on it (or anywhere), metres.
        direction: unit, towards the lamp.
        softness_m: radius of the shadows' blur.
        rasterizer: for the device.
    """
    rotation, centre = facing(direction), vertices_view.mean(1, keepdim=True)
    away = vertices_view.new_tensor([0.0, 0.0, -DISTANCE])
    seen = (vertices_view - centre) @ rotation.transpose(1, 2) + away
    batch, _, height, width = position_view.shape
    focal = vertices_view.new_full((batch,), SIZE * DISTANCE / WIDTH)
    camera = Camera(focal, vertices_view.new_full((batch, 2), SIZE / 2), SIZE, SIZE)
    nearest = rasterizer.rasterize(seen, triangles, camera).depth.clamp(max=2 * DISTANCE)[:, None]
    points = (position_view.flatten(2).transpose(1, 2) - centre) @ rotation.transpose(1, 2) + away
    places = (project(points, camera) * (2 / SIZE) - 1).reshape(batch, height, width, 2)
    depth = -points[..., 2].reshape(batch, 1, height, width)
    radius = (softness_m * (2 / WIDTH)).view(-1, 1, 1, 1)
    lit = torch.zeros_like(depth)
    for tap in TAPS:
        moved = places + radius * places.new_tensor(tap)
        occluder = grid_sample(nearest, moved, mode="nearest", padding_mode="border", align_corners=False)
        lit = lit + (occluder > depth - BIAS)
    return lit / len(TAPS)


def lamp_diffuse(buffer_normals: Float[Tensor, "batch 3 height width"], direction: Float[Tensor, "batch 3"]) -> Tensor:
    """Return the shading of a lamp whose light makes 1 where it falls straight on: max(n . l, 0)."""
    return (buffer_normals * direction[:, :, None, None]).sum(1, keepdim=True).clamp(min=0)


def lamp_highlight(
    towards: Float[Tensor, "batch 3 height width"],
    normals: Float[Tensor, "batch 3 height width"],
    direction: Float[Tensor, "batch 3"],
    exponent: Float[Tensor, "batch"],
    f0: float,
) -> Float[Tensor, "batch 1 height width"]:
    """Return the mirrored radiance of the lamp of `lamp_diffuse`: Blinn-Phong, normalised, Schlick's Fresnel factor.

    ``towards`` are unit vectors to the camera.

    Source: Akenine-Möller et al., Real-Time Rendering, the approximation (n + 8) / (8 pi) of the energy factor.
    """
    half = unit(towards + direction[:, :, None, None])
    cosine = (normals * half).sum(1, keepdim=True).clamp(min=1e-4)
    grazing = (half * towards).sum(1, keepdim=True).clamp(0, 1)
    fresnel = f0 + (1 - f0) * (1 - grazing) ** 5
    n = exponent.view(-1, 1, 1, 1)
    # Irradiance is pi times the diffuse shading.
    return fresnel * (n + 8) / 8 * cosine**n * lamp_diffuse(normals, direction)
