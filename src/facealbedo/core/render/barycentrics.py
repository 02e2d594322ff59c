"""Barycentrics and depth as differentiable functions of vertices and camera, for known triangle ids."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facealbedo.core.geometry.projection import project
from facealbedo.core.render.triton_paths import fused
from facealbedo.core.types import Camera, Fragments

# How far the exact barycentrics may leave [0, 1] before a triangle counts as a needle, of which the grid of the
# rasteriser and the exact vertices tell different stories.
_TOLERANCE = 1e-2


def with_gradients(
    fragments: Fragments,
    vertices_view: Float[Tensor, "batch vertex 3"],
    triangles: Int[Tensor, "triangle 3"],
    camera: Camera,
) -> Fragments:
    """Return the fragments with barycentrics and depth computed anew, with gradients to vertices and camera.

    Ids stay as they are; so silhouettes carry no gradient. Values agree with the rasteriser's to its sub-pixel grid.
    For needles thinner than that grid the rasteriser's values stay, without gradient.
    """
    if kernels := fused(vertices_view, fragments.barycentrics, camera.focal_px, camera.principal_px):
        drawn = fragments.barycentrics, fragments.depth, fragments.triangle_id
        seen = kernels.attach_gradients(
            *drawn, triangles, vertices_view, camera.focal_px, camera.principal_px, _TOLERANCE
        )
        return Fragments(fragments.triangle_id, *seen)
    covered = fragments.triangle_id >= 0
    corners = _corner_indices(fragments.triangle_id, triangles)
    points_px, depth = _project_safely(vertices_view, camera)
    corner_px = gather_vertices(points_px, corners)
    corner_depth = gather_vertices(depth[..., None], corners)[..., 0]
    screen, area = _screen_barycentrics(corner_px, _pixel_centres(camera, vertices_view))
    usable = covered & (area != 0)
    corrected = torch.where(usable[..., None], screen, 1.0) / corner_depth
    exact = corrected / corrected.sum(-1, keepdim=True)
    usable = usable & ((exact > -_TOLERANCE) & (exact < 1 + _TOLERANCE)).all(-1)
    barycentrics = torch.where(usable[..., None], exact, fragments.barycentrics.to(exact.dtype))
    distance = torch.where(covered, (barycentrics * corner_depth).sum(-1), torch.inf)
    return Fragments(fragments.triangle_id, barycentrics, distance)


def gather_vertices(
    attributes: Float[Tensor, "batch vertex channel"], corners: Int[Tensor, "batch height width 3"]
) -> Float[Tensor, "batch height width 3 channel"]:
    """Attributes of the three vertices at each pixel."""
    batch = attributes.shape[0]
    flat = corners.reshape(batch, -1)
    index = flat + torch.arange(batch, device=flat.device)[:, None] * attributes.shape[1]
    gathered = attributes.reshape(-1, attributes.shape[-1]).index_select(0, index.reshape(-1))
    return gathered.reshape(*corners.shape, attributes.shape[-1])


def _corner_indices(triangle_id: Tensor, triangles: Tensor) -> Tensor:
    """The three vertices at each pixel, int64; those of triangle 0 where there is none."""
    return triangles.long()[triangle_id.clamp(min=0).long()]


def _project_safely(vertices_view: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Pixels and depth of each vertex; harmless numbers for vertices that no drawn triangle uses."""
    usable = (vertices_view[..., 2:] < 0) & vertices_view.isfinite().all(-1, keepdim=True)
    fallback = torch.tensor([0.0, 0.0, -1.0], dtype=vertices_view.dtype, device=vertices_view.device)
    safe = torch.where(usable, vertices_view, fallback)
    return project(safe, camera), -safe[..., 2]


def _pixel_centres(camera: Camera, like: Tensor) -> Tensor:
    """[height, width, 2] pixel coordinates (x, y)."""
    y = torch.arange(camera.height, dtype=like.dtype, device=like.device) + 0.5
    x = torch.arange(camera.width, dtype=like.dtype, device=like.device) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def _screen_barycentrics(corner_px: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentrics in the image plane (not yet corrected for perspective), and twice the signed area.

    Everything is taken relative to the pixel, so that float32 keeps its digits for triangles of a pixel's size.
    """
    x, y = (corner_px - centres[..., None, :]).unbind(-1)
    parts = [x[..., one] * y[..., two] - x[..., two] * y[..., one] for one, two in ((1, 2), (2, 0), (0, 1))]
    edges = torch.stack(parts, dim=-1)
    area = edges.sum(-1)
    return edges / torch.where(area == 0, 1.0, area)[..., None], area
