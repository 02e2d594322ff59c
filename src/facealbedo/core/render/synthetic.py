"""Simple meshes whose every property is known in closed form, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from facealbedo.core.geometry.normals import vertex_normals
from facealbedo.core.types import Camera


def icosphere(level: int) -> tuple[Float[Tensor, "vertex 3"], Int[Tensor, "triangle 3"]]:
    """Unit sphere of 20 * 4^level triangles of nearly one size, counter-clockwise from outside."""
    golden = (1 + 5**0.5) / 2
    points = np.array(
        [(a, b * golden, 0) for a in (-1, 1) for b in (-1, 1)]
        + [(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
        + [(b * golden, 0, a) for a in (-1, 1) for b in (-1, 1)]
    )
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    near = np.isclose(distance, 2.0)
    count = len(points)
    found = [
        (a, b, c)
        for a in range(count)
        for b in range(a + 1, count)
        for c in range(b + 1, count)
        if near[a, b] and near[b, c] and near[a, c]
    ]
    triangles = np.array(found)
    corners = points[triangles]
    inward = np.einsum(
        "tk,tk->t", np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), corners[:, 0]
    )
    triangles[inward < 0] = triangles[inward < 0][:, ::-1]
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    for _ in range(level):
        points, triangles = _split(points, triangles)
    return torch.from_numpy(points).float(), torch.from_numpy(triangles)


def _split(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle into four, new vertices pushed out to the unit sphere."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middles = points[unique].mean(axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    ab, bc, ca = inverse.reshape(3, -1) + len(points)
    a, b, c = triangles.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([points, middles]), np.concatenate([np.stack(part, axis=1) for part in parts])


@dataclass(frozen=True, eq=False)
class Dome:
    """Front part of an ellipsoid with a symmetric rectangular atlas: a `surface.Surface` of known shape."""

    vertices: Float[Tensor, "vertex 3"]
    triangles: Int[Tensor, "triangle 3"]
    uv: Float[Tensor, "vertex 2"]
    uv_triangles: Int[Tensor, "triangle 3"]
    uv_mirror: Int[Tensor, "vertex"]

    def normals(self, vertices: Float[Tensor, "batch vertex 3"]) -> Float[Tensor, "batch vertex 3"]:
        """Smooth unit normals."""
        return vertex_normals(vertices, self.triangles)


def dome(cells: int = 32, radii: tuple[float, float, float] = (0.08, 0.1, 0.09), margin: float = 0.05) -> Dome:
    """Make a `Dome` of ``cells`` x ``cells`` quads (even), metres, centred at the origin, bulging along +z.

    Atlas point (u, v) lies at longitude 144° * (u' - 0.5) and latitude 144° * (0.5 - v'), where u', v' run from 0 to 1
    over the atlas without its margin.
    """
    if cells < 2 or cells % 2:
        raise ValueError(f"the dome needs an even number of cells, got {cells}")
    steps = np.linspace(0, 1, cells + 1)
    v, u = np.meshgrid(steps, steps, indexing="ij")
    longitude, latitude = 0.8 * np.pi * (u - 0.5), 0.8 * np.pi * (0.5 - v)
    unit = np.stack(
        [np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)], axis=-1
    )
    index = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    top_left, top_right = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    low_left, low_right = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    falling = np.concatenate(
        [np.stack([top_left, low_left, low_right], 1), np.stack([top_left, low_right, top_right], 1)], axis=1
    ).reshape(-1, 2, 3)
    rising = np.concatenate(
        [np.stack([top_left, low_left, top_right], 1), np.stack([low_left, low_right, top_right], 1)], axis=1
    ).reshape(-1, 2, 3)
    left_half = np.tile(np.arange(cells) < cells // 2, cells)
    triangles = torch.from_numpy(np.where(left_half[:, None, None], falling, rising).reshape(-1, 3))
    uv = margin + (1 - 2 * margin) * np.stack([u, v], axis=-1).reshape(-1, 2)
    return Dome(
        vertices=torch.from_numpy(unit.reshape(-1, 3) * np.array(radii)).float(),
        triangles=triangles,
        uv=torch.from_numpy(uv).float(),
        uv_triangles=triangles,
        uv_mirror=torch.from_numpy(index[:, ::-1].ravel().copy()),
    )


def frontal_camera(batch: int, size: int, focal: float = 3.0, device: torch.device | str = "cpu") -> Camera:
    """Square camera with its principal point in the middle; ``focal`` in image widths."""
    return Camera(
        focal_px=torch.full((batch,), focal * size, device=device),
        principal_px=torch.full((batch, 2), size / 2, device=device),
        height=size,
        width=size,
    )
