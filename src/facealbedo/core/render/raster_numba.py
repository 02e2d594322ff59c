"""The CPU rasteriser: numba, by image and by band of rows, on as many threads as torch is set to use."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from facealbedo.core.render.cpu_kernels import compile_kernel, run_tasks, shares
from facealbedo.core.render.raster_rules import GUARD_PX, NEAR_METRES, SUBPIXEL_BITS
from facealbedo.core.types import Camera, Fragments

_ONE = 1 << SUBPIXEL_BITS
_HALF = _ONE >> 1


@compile_kernel
@no_type_check
def _project_vertices(vertices, focal, centre_x, centre_y, near, guard, points, snapped, inverse_depth):
    """Write pixel and grid coordinates and 1/depth of each vertex; 1/depth is 0 for one that no triangle may use."""
    for vertex in range(vertices.shape[0]):
        depth = -np.float64(vertices[vertex, 2])
        inverse_depth[vertex] = 0.0
        # Written so that NaN fails.
        if not (depth >= near and depth < np.inf):
            continue
        inverse = 1.0 / depth
        x = focal * np.float64(vertices[vertex, 0]) * inverse + centre_x
        y = -focal * np.float64(vertices[vertex, 1]) * inverse + centre_y
        if abs(x) < guard and abs(y) < guard:
            points[vertex, 0] = x
            points[vertex, 1] = y
            snapped[vertex, 0] = np.int64(np.floor(x * _ONE + 0.5))
            snapped[vertex, 1] = np.int64(np.floor(y * _ONE + 0.5))
            inverse_depth[vertex] = inverse


@compile_kernel
@no_type_check
def _draw_rows(snapped, inverse_depth, triangles, first_row, last_row, nearest, triangle_id):
    """Depth-test every triangle against rows ``first_row`` to ``last_row`` (exclusive)."""
    width = triangle_id.shape[1]
    for triangle in range(triangles.shape[0]):
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        y0, y1, y2 = snapped[a, 1], snapped[b, 1], snapped[c, 1]
        top = max((min(y0, y1, y2) + (_HALF - 1)) >> SUBPIXEL_BITS, first_row)
        bottom = min((max(y0, y1, y2) - _HALF) >> SUBPIXEL_BITS, last_row - 1)
        if top > bottom:
            continue
        x0, x1, x2 = snapped[a, 0], snapped[b, 0], snapped[c, 0]
        left = max((min(x0, x1, x2) + (_HALF - 1)) >> SUBPIXEL_BITS, 0)
        right = min((max(x0, x1, x2) - _HALF) >> SUBPIXEL_BITS, width - 1)
        if left > right:
            continue
        w0, w1, w2 = np.float32(inverse_depth[a]), np.float32(inverse_depth[b]), np.float32(inverse_depth[c])
        if w0 <= 0.0 or w1 <= 0.0 or w2 <= 0.0:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        if area < 0:
            x1, y1, w1, x2, y2, w2 = x2, y2, w2, x1, y1, w1
            area = -area
        # Edge i lies opposite vertex i; inside, all three functions are positive.
        dx0, dy0 = x2 - x1, y2 - y1
        dx1, dy1 = x0 - x2, y0 - y2
        dx2, dy2 = x1 - x0, y1 - y0
        # A centre exactly on an edge (0) counts if the edge is a left or a top one.
        least0 = 0 if dy0 < 0 or (dy0 == 0 and dx0 > 0) else 1
        least1 = 0 if dy1 < 0 or (dy1 == 0 and dx1 > 0) else 1
        least2 = 0 if dy2 < 0 or (dy2 == 0 and dx2 > 0) else 1
        x, y = left * _ONE + _HALF, top * _ONE + _HALF
        # Less what the tie rule asks for, so that one sign bit of all three says whether the centre is inside.
        row0 = dx0 * (y - y1) - dy0 * (x - x1) - least0
        row1 = dx1 * (y - y2) - dy1 * (x - x2) - least1
        row2 = dx2 * (y - y0) - dy2 * (x - x0) - least2
        inverse_area = np.float32(1.0) / np.float32(area)
        for row in range(top, bottom + 1):
            e0, e1, e2 = row0, row1, row2
            for column in range(left, right + 1):
                if (e0 | e1 | e2) >= 0:
                    near = np.float32(e0 + least0) * w0 + np.float32(e1 + least1) * w1 + np.float32(e2 + least2) * w2
                    near *= inverse_area
                    if near > nearest[row, column]:
                        nearest[row, column] = near
                        triangle_id[row, column] = triangle
                e0 -= dy0 * _ONE
                e1 -= dy1 * _ONE
                e2 -= dy2 * _ONE
            row0 += dx0 * _ONE
            row1 += dx1 * _ONE
            row2 += dx2 * _ONE


@compile_kernel
@no_type_check
def _resolve_rows(points, inverse_depth, triangles, first_row, last_row, triangle_id, barycentrics, depth):
    """Write perspective-correct barycentrics and depth where a triangle is seen."""
    for row in range(first_row, last_row):
        y = row + 0.5
        for column in range(triangle_id.shape[1]):
            triangle = triangle_id[row, column]
            if triangle < 0:
                barycentrics[row, column, 0] = 0.0
                barycentrics[row, column, 1] = 0.0
                barycentrics[row, column, 2] = 0.0
                depth[row, column] = np.inf
                continue
            x = column + 0.5
            a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
            x0, y0 = points[a, 0] - x, points[a, 1] - y
            x1, y1 = points[b, 0] - x, points[b, 1] - y
            x2, y2 = points[c, 0] - x, points[c, 1] - y
            w0, w1, w2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
            if w0 + w1 + w2 < 0:
                w0, w1, w2 = -w0, -w1, -w2
            w0, w1, w2 = max(w0, 0.0), max(w1, 0.0), max(w2, 0.0)
            screen = w0 + w1 + w2
            w0, w1, w2 = w0 * inverse_depth[a], w1 * inverse_depth[b], w2 * inverse_depth[c]
            total = w0 + w1 + w2
            if total > 0:
                scale = 1.0 / total
            else:  # a needle without area before snapping
                w0, w1, w2, screen, scale = inverse_depth[a], 0.0, 0.0, 1.0, 1.0 / inverse_depth[a]
            barycentrics[row, column, 0] = w0 * scale
            barycentrics[row, column, 1] = w1 * scale
            barycentrics[row, column, 2] = w2 * scale
            depth[row, column] = screen * scale


class NumbaRasterizer:
    """Rasterises on the CPU; see `raster_rules` for what it draws, `rasterize.get_rasterizer` for how to get one."""

    name = "numba"

    def draw(
        self, vertices_view: Float[Tensor, "batch vertex 3"], triangles: Int[Tensor, "triangle 3"], camera: Camera
    ) -> Fragments:
        """Draw checked input (see `rasterize.Rasterizer`), without gradients."""
        vertices = vertices_view.detach().contiguous().numpy()
        faces = triangles.contiguous().numpy()
        focal = camera.focal_px.detach().double().numpy()
        principal = camera.principal_px.detach().double().numpy()
        batch, n_vertices = vertices.shape[:2]
        height, width = camera.height, camera.width
        points = np.zeros((batch, n_vertices, 2))
        snapped = np.zeros((batch, n_vertices, 2), np.int64)
        inverse_depth = np.empty((batch, n_vertices))
        nearest = np.zeros((batch, height, width), np.float32)
        triangle_id = np.full((batch, height, width), -1, np.int32)
        barycentrics = np.empty((batch, height, width, 3), vertices.dtype)
        depth = np.empty((batch, height, width), vertices.dtype)

        def place(image: int) -> None:
            centre_x, centre_y = principal[image]
            out = points[image], snapped[image], inverse_depth[image]
            _project_vertices(vertices[image], focal[image], centre_x, centre_y, NEAR_METRES, GUARD_PX, *out)

        def draw_band(task: tuple[int, int, int]) -> None:
            image, first, last = task
            rest = inverse_depth[image], faces, first, last
            _draw_rows(snapped[image], *rest, nearest[image], triangle_id[image])
            _resolve_rows(points[image], *rest, triangle_id[image], barycentrics[image], depth[image])

        bands = shares(height, -(-torch.get_num_threads() // batch))
        run_tasks(place, range(batch))
        run_tasks(draw_band, [(image, *band) for image in range(batch) for band in bands])
        return Fragments(torch.from_numpy(triangle_id), torch.from_numpy(barycentrics), torch.from_numpy(depth))


def draw_flat(points: np.ndarray, triangles: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a flat layout of triangles (an atlas) by the same rules.

    Args:
        points: float [point, 2] in pixels, x right, y down; all within `GUARD_PX`.
        triangles: int [triangle, 3] into ``points``.
        height: rows.
        width: columns.

    Returns:
        int32 triangle ids [height, width], -1 where there is none, and float64 barycentrics [height, width, 3].
    """
    if not (np.isfinite(points).all() and np.abs(points).max(initial=0.0) < GUARD_PX):
        raise ValueError(f"the points of the layout must be finite and within {GUARD_PX} pixels")
    snapped = np.floor(points.astype(np.float64) * _ONE + 0.5).astype(np.int64)
    inverse_depth = np.ones(len(points))
    triangle_id = np.full((height, width), -1, np.int32)
    barycentrics = np.empty((height, width, 3))
    depth = np.empty((height, width))
    _draw_rows(snapped, inverse_depth, triangles, 0, height, np.zeros((height, width), np.float32), triangle_id)
    exact = points.astype(np.float64)
    _resolve_rows(exact, inverse_depth, triangles, 0, height, triangle_id, barycentrics, depth)
    return triangle_id, barycentrics
