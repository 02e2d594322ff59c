"""Normals of triangle meshes (counter-clockwise triangles look outward)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def triangle_normals(
    vertices: Float[Tensor, "batch vertex 3"], triangles: Int[Tensor, "triangle 3"]
) -> Float[Tensor, "batch triangle 3"]:
    """Return the triangles' normals, *not* normalised: twice the area long, 0 for a triangle without area."""
    if triangles.numel() == 0:
        raise ValueError(f"a mesh needs at least one triangle; got triangles of shape {tuple(triangles.shape)}")
    first, second, third = (vertices[:, triangles[:, corner]] for corner in range(3))
    return torch.linalg.cross(second - first, third - first)


def vertex_normals(
    vertices: Float[Tensor, "batch vertex 3"],
    triangles: Int[Tensor, "triangle 3"],
    incident: Int[Tensor, "vertex valence"] | None = None,
) -> Float[Tensor, "batch vertex 3"]:
    """Return smooth unit normals: the area-weighted mean of the triangles around each vertex.

    Args:
        vertices: In any one frame and unit; the normals come in the same frame.
        triangles: Counter-clockwise as seen from outside.
        incident: Optional table from `incident_triangles`. With it the sum runs in a fixed order on every device;
            without it a CUDA device adds in whatever order its threads arrive, and results differ in the last digits.

    Returns:
        Unit normals; exactly 0 (and with gradient 0) for a vertex whose triangles have no area or that has none.
    """
    faces = triangle_normals(vertices, triangles)
    if incident is None:
        sums = torch.zeros_like(vertices)
        for corner in range(3):
            index = triangles[:, corner, None].expand(vertices.shape[0], -1, 3)
            sums = sums.scatter_add(1, index, faces)
    else:
        padded = torch.nn.functional.pad(faces, (0, 0, 0, 1))  # the row that padding entries of the table point at
        sums = padded[:, incident].sum(dim=2)
    return sums / torch.linalg.vector_norm(sums, dim=-1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)


def incident_triangles(triangles: Int[Tensor, "triangle 3"], n_vertices: int) -> Int[Tensor, "vertex valence"]:
    """Return, for each vertex, its triangles in ascending order, padded with the number of triangles."""
    n_triangles = triangles.shape[0]
    corners = triangles.flatten()
    order = torch.argsort(corners, stable=True)
    counts = torch.bincount(corners, minlength=n_vertices)
    if counts.shape[0] != n_vertices:
        raise ValueError(f"triangles name vertex {counts.shape[0] - 1}, but there are only {n_vertices} vertices")
    starts = counts.cumsum(0) - counts
    owner = corners[order]
    slot = torch.arange(corners.shape[0], device=triangles.device) - starts[owner]
    table = torch.full((n_vertices, int(counts.max())), n_triangles, dtype=torch.int64, device=triangles.device)
    table[owner, slot] = order // 3
    return table
