"""Which parts of the surroundings each vertex of a head sees: soft shadows and occlusion for previews.

A head is drawn from many directions (far away, so that rays are parallel to a hundredth); a vertex sees the direction
in which nothing is drawn before it. Weighted with the cosine this is a matrix that turns distant light of any colour
into shading, with all shadows that the head casts on itself.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.render.surface import Surface
from facealbedo.core.types import Camera

_DISTANCE_METRES = 20.0
_MAP_PX = 192
_BATCH = 16
# Vertices are lifted off the surface by about a pixel of the depth maps, or they would shade themselves.
LIFT_METRES = 2.5e-3
_TOLERANCE_METRES = 1.0e-3


def sphere_directions(count: int) -> Float[Tensor, "count 3"]:
    """Return unit vectors spread evenly over the sphere (Fibonacci lattice), the same for every call."""
    index = torch.arange(count, dtype=torch.float64)
    y = 1 - (2 * index + 1) / count
    turn = index * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - y * y).sqrt()
    return torch.stack([radius * turn.cos(), y, radius * turn.sin()], dim=1).float()


def cosine_openness(
    model: Surface,
    vertices_world: Float[Tensor, "vertex 3"],
    normals_world: Float[Tensor, "vertex 3"],
    directions: Float[Tensor, "direction 3"],
) -> Float[Tensor, "vertex direction"]:
    """Return visibility times cosine of every direction at every vertex.

    With evenly spread directions, ``shading = 4 * openness @ radiance / n_directions`` (irradiance / π).
    """
    cosine = (normals_world @ directions.T).clamp(min=0)
    lifted = vertices_world + LIFT_METRES * normals_world
    seen = [visible_share(model, vertices_world, lifted, part) for part in directions.split(_BATCH)]
    return cosine * torch.cat(seen, dim=0).T


def visible_share(
    model: Surface,
    vertices_world: Float[Tensor, "vertex 3"],
    points_world: Float[Tensor, "point 3"],
    directions: Float[Tensor, "direction 3"],
    map_px: int = _MAP_PX,
) -> Float[Tensor, "direction point"]:
    """Return the share in [0, 1] of four neighbouring rays from each point in each direction that leave the head."""
    centre = vertices_world.mean(dim=0)
    reach = float((vertices_world - centre).norm(dim=1).max()) * 1.02
    frames = _frames(directions)
    offset = centre.new_tensor([0.0, 0.0, -_DISTANCE_METRES])
    seen_from = torch.einsum("dij,vj->dvi", frames, vertices_world - centre) + offset
    count = len(directions)
    focal = (_DISTANCE_METRES - reach) * (map_px / 2 - 1) / reach
    middle = centre.new_full((count, 2), map_px / 2)
    camera = Camera(centre.new_full((count,), focal), middle, map_px, map_px)
    depth = get_rasterizer("auto", vertices_world.device).rasterize(seen_from, model.triangles, camera).depth
    points = torch.einsum("dij,pj->dpi", frames, points_world - centre) + offset
    return _compare(depth, points, focal)


def _compare(
    depth: Float[Tensor, "direction height width"], points: Float[Tensor, "direction point 3"], focal: float
) -> Float[Tensor, "direction point"]:
    """Blend four depth tests bilinearly (percentage-closer filtering)."""
    size = depth.shape[-1]
    distance = -points[..., 2]
    x = (focal * points[..., 0] / distance + size / 2 - 0.5).clamp(0, size - 1.001)
    y = (-focal * points[..., 1] / distance + size / 2 - 0.5).clamp(0, size - 1.001)
    left, top = x.floor(), y.floor()
    first = (top * size + left).long()
    flat = depth.flatten(1)
    limit = distance - _TOLERANCE_METRES
    corners = [(flat.gather(1, first + step) > limit).float() for step in (0, 1, size, size + 1)]
    upper = torch.lerp(corners[0], corners[1], x - left)
    lower = torch.lerp(corners[2], corners[3], x - left)
    return torch.lerp(upper, lower, y - top)


def _frames(directions: Float[Tensor, "direction 3"]) -> Float[Tensor, "direction 3 3"]:
    """Return rotations that bring each direction to +z, where the eye is."""
    helper = torch.where(
        directions[:, 1:2].abs() < 0.9, directions.new_tensor([0.0, 1.0, 0.0]), directions.new_tensor([1.0, 0.0, 0.0])
    )
    right = torch.nn.functional.normalize(torch.linalg.cross(helper, directions), dim=1)
    return torch.stack([right, torch.linalg.cross(directions, right), directions], dim=1)
