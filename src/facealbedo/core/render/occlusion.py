"""How much of the sky each point of a mesh sees: ambient occlusion and SH shadow transfer, by casting rays.

Computed once on the mean face and carried over to all others by vertex: what counts are nose, brow, lids, lips and
chin, which move with the vertices. The transfer lives in the world (head) frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.lighting.sh import sh_basis
from facealbedo.core.render.cpu_kernels import compile_kernel, run_tasks
from facealbedo.core.types import TensorRecord

SH_ORDER = 2
# Rays start this far above the surface, so that a facet does not hide the vertex that it belongs to.
_LIFT_METRES = 2e-4
_LEAF_SIZE = 4


@dataclass(frozen=True)
class SurfaceOcclusion(TensorRecord):
    """What the face hides of the sky from each of its own vertices.

    * ``openness``: share of the cosine-weighted sky that a vertex sees, in [0, 1] (1 minus ambient occlusion).
    * ``transfer``: SH vector whose product with radiance coefficients (world frame, order 2) is the irradiance that
      occluders take away, a negative number: irradiance = unshadowed irradiance + transfer · radiance.
    """

    openness: Float[Tensor, "vertex"]
    transfer: Float[Tensor, "vertex 9"]


def shadow_irradiance(
    transfer: Float[Tensor, "batch 9 height width"], sh_radiance_world: Float[Tensor, "batch 3 coeff"]
) -> Float[Tensor, "batch 3 height width"]:
    """Irradiance that occluders take away (at most about 0): add it to the unshadowed irradiance.

    Args:
        transfer: `SurfaceOcclusion.transfer` interpolated to pixels or texels.
        sh_radiance_world: the light in the head's world frame; bands above 2 are left out.
    """
    return torch.einsum("bkhw,bck->bchw", transfer, sh_radiance_world[..., :9])


def compute_occlusion(
    vertices: Float[np.ndarray, "vertex 3"],
    normals: Float[np.ndarray, "vertex 3"],
    triangles: np.ndarray,
    n_directions: int = 2048,
) -> SurfaceOcclusion:
    """Cast rays from every vertex over its hemisphere.

    Args:
        vertices: metres, world frame.
        normals: unit, outward.
        triangles: int [triangle, 3]; what may hide.
        n_directions: directions over the whole sphere (a Fibonacci spiral), the same for every vertex.
    """
    directions = _fibonacci_sphere(n_directions)
    basis = sh_basis(torch.from_numpy(directions), SH_ORDER).numpy() * (4 * math.pi / n_directions)
    tree = _build_tree(vertices.astype(np.float64), np.ascontiguousarray(triangles, dtype=np.int64))
    origins = vertices.astype(np.float64) + _LIFT_METRES * normals
    openness = np.zeros(len(vertices))
    transfer = np.zeros((len(vertices), basis.shape[1]))

    def cast(part: np.ndarray) -> None:
        sums = _cast(origins[part], normals[part].astype(np.float64), directions, basis, *tree)
        openness[part], transfer[part] = sums

    run_tasks(cast, np.array_split(np.arange(len(vertices)), 8 * torch.get_num_threads()))
    return SurfaceOcclusion(torch.from_numpy(openness).float(), torch.from_numpy(transfer).float())


def _fibonacci_sphere(count: int) -> np.ndarray:
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    azimuth = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=-1)


def _build_tree(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, ...]:
    """Bounding-volume tree by median splits, in depth-first order.

    Returns:
        Boxes [node, 6], the node to go on with when a box is missed [node], first triangle and count of a leaf [node]
        (count 0: not a leaf), and the triangles' corner and two edges [triangle, 9] in the leaves' order.
    """
    corners = vertices[triangles]
    low, high, centre = corners.min(1), corners.max(1), corners.mean(1)
    boxes: list[np.ndarray] = []
    skip: list[int] = []
    leaf: list[tuple[int, int]] = []
    order: list[np.ndarray] = []
    placed = 0

    def add(members: np.ndarray) -> None:
        nonlocal placed
        node = len(boxes)
        boxes.append(np.concatenate([low[members].min(0), high[members].max(0)]))
        skip.append(-1)
        if len(members) <= _LEAF_SIZE:
            leaf.append((placed, len(members)))
            order.append(members)
            placed += len(members)
        else:
            leaf.append((0, 0))
            axis = int(np.ptp(centre[members], axis=0).argmax())
            halves = members[np.argpartition(centre[members, axis], len(members) // 2)]
            add(halves[: len(members) // 2])
            add(halves[len(members) // 2 :])
        skip[node] = len(boxes)

    add(np.arange(len(triangles)))
    sorted_corners = corners[np.concatenate(order)]
    facets = np.concatenate(
        [
            sorted_corners[:, 0],
            sorted_corners[:, 1] - sorted_corners[:, 0],
            sorted_corners[:, 2] - sorted_corners[:, 0],
        ],
        axis=1,
    )
    return np.stack(boxes), np.array(skip), np.array(leaf), np.ascontiguousarray(facets)


@compile_kernel
@no_type_check
def _is_hit(ox, oy, oz, dx, dy, dz, boxes, skip, leaf, facets):
    """True if the ray meets a triangle (either side)."""
    # A direction along an axis divides by 0 to infinity, which the comparisons take well, except for 0 * infinity.
    ix, iy, iz = 1.0 / (dx + 1e-30), 1.0 / (dy + 1e-30), 1.0 / (dz + 1e-30)
    node = 0
    while node < len(skip):
        x0, x1 = (boxes[node, 0] - ox) * ix, (boxes[node, 3] - ox) * ix
        y0, y1 = (boxes[node, 1] - oy) * iy, (boxes[node, 4] - oy) * iy
        z0, z1 = (boxes[node, 2] - oz) * iz, (boxes[node, 5] - oz) * iz
        enter = max(min(x0, x1), min(y0, y1), min(z0, z1))
        leave = min(max(x0, x1), max(y0, y1), max(z0, z1))
        if leave < max(enter, 0.0):
            node = skip[node]
            continue
        first, count = leaf[node, 0], leaf[node, 1]
        for facet in range(first, first + count):
            ax, ay, az = facets[facet, 3], facets[facet, 4], facets[facet, 5]
            bx, by, bz = facets[facet, 6], facets[facet, 7], facets[facet, 8]
            px, py, pz = dy * bz - dz * by, dz * bx - dx * bz, dx * by - dy * bx
            determinant = ax * px + ay * py + az * pz
            if abs(determinant) < 1e-18:
                continue
            sx, sy, sz = ox - facets[facet, 0], oy - facets[facet, 1], oz - facets[facet, 2]
            u = (sx * px + sy * py + sz * pz) / determinant
            if u < 0.0 or u > 1.0:
                continue
            qx, qy, qz = sy * az - sz * ay, sz * ax - sx * az, sx * ay - sy * ax
            v = (dx * qx + dy * qy + dz * qz) / determinant
            if v < 0.0 or u + v > 1.0:
                continue
            if (bx * qx + by * qy + bz * qz) / determinant > 0.0:
                return True
        node += 1
    return False


@compile_kernel
@no_type_check
def _cast(origins, normals, directions, basis, boxes, skip, leaf, facets):
    """Openness and shadow transfer of each origin."""
    openness = np.ones(len(origins))
    transfer = np.zeros((len(origins), basis.shape[1]))
    for point in range(len(origins)):
        seen, total = 0.0, 0.0
        for way in range(len(directions)):
            dx, dy, dz = directions[way]
            cosine = normals[point, 0] * dx + normals[point, 1] * dy + normals[point, 2] * dz
            if cosine <= 0.0:
                continue
            total += cosine
            if _is_hit(origins[point, 0], origins[point, 1], origins[point, 2], dx, dy, dz, boxes, skip, leaf, facets):
                for k in range(basis.shape[1]):
                    transfer[point, k] -= cosine * basis[way, k]
            else:
                seen += cosine
        if total > 0.0:
            openness[point] = seen / total
    return openness, transfer
