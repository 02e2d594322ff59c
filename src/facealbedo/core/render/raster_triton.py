"""The CUDA rasteriser: two Triton kernels, drawing by triangle and resolving by pixel.

Every triangle offers each pixel that it covers one 64-bit number, nearness above and index below, and the pixel keeps
the largest by an atomic maximum; so the result depends on no order. The second kernel makes barycentrics and depth of
the triangle that won. Arithmetic is that of `raster_numba`, operation by operation, without fused multiply-adds: both
backends see the same triangles.

Nothing is kept between calls, and nothing makes the device wait.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from facealbedo.core.render.raster_rules import GUARD_PX, NEAR_METRES, SUBPIXEL_BITS
from facealbedo.core.types import Camera, Fragments

_BITS = tl.constexpr(SUBPIXEL_BITS)
_ONE = tl.constexpr(1 << SUBPIXEL_BITS)
_HALF = tl.constexpr(1 << (SUBPIXEL_BITS - 1))
_NEAR = tl.constexpr(NEAR_METRES)
_GUARD = tl.constexpr(GUARD_PX)
_LAST_ID = tl.constexpr((1 << 31) - 1)

# Where an image has this many pixels a triangle, the rows of large triangles are shared among several programs.
_PIXELS_A_BAND = 4096
_MOST_BANDS = 64


@triton.jit
@no_type_check
def _project(vertices, index, n_vertices, focal, centre_x, centre_y, wanted):
    """Pixel coordinates and 1/depth in float64 of the vertices at ``index``; 1/depth is 0 where none may be drawn."""
    exists = wanted & (index >= 0) & (index < n_vertices)
    at = vertices + index * 3
    x = tl.load(at, mask=exists, other=0.0).to(tl.float64)
    y = tl.load(at + 1, mask=exists, other=0.0).to(tl.float64)
    depth = -tl.load(at + 2, mask=exists, other=0.0).to(tl.float64)
    # Written so that NaN fails.
    before = (depth >= _NEAR) & (depth < float("inf"))
    inverse = 1.0 / tl.where(before, depth, 1.0)
    x = focal * x * inverse + centre_x
    y = -focal * y * inverse + centre_y
    usable = before & (tl.abs(x) < _GUARD) & (tl.abs(y) < _GUARD)
    return tl.where(usable, x, 0.0), tl.where(usable, y, 0.0), tl.where(usable, inverse, 0.0)


@triton.jit
@no_type_check
def _snap(x):
    return tl.floor(x * _ONE + 0.5).to(tl.int32)


@triton.jit
@no_type_check
def _smallest(a, b, c):
    return tl.minimum(tl.minimum(a, b), c)


@triton.jit
@no_type_check
def _largest(a, b, c):
    return tl.maximum(tl.maximum(a, b), c)


@triton.jit
@no_type_check
def _offer(keys, pixel, e0, e1, e2, least0, least1, least2, w0, w1, w2, inverse_area, triangle, mask):
    """Offer a triangle to pixels whose edge functions are given."""
    inside = mask & (e0 >= least0) & (e1 >= least1) & (e2 >= least2)
    near = (e0.to(tl.float32) * w0 + e1.to(tl.float32) * w1 + e2.to(tl.float32) * w2) * inverse_area
    # Positive floats sort like their bits; among equals the lowest index, flipped, is the largest number.
    key = (near.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (triangle ^ _LAST_ID).to(tl.int64)
    tl.atomic_max(keys + pixel, key, mask=inside, sem="relaxed")


@triton.jit
@no_type_check
def _pick(values, chosen):
    """The one value that is chosen."""
    return tl.sum(tl.where(chosen, values, 0), axis=0)


@triton.jit
@no_type_check
def _corner(vertices, index, n_vertices, focal, centre_x, centre_y, wanted):
    """Grid coordinates and float32 1/depth of a corner of each triangle."""
    x, y, inverse_depth = _project(vertices, index, n_vertices, focal, centre_x, centre_y, wanted)
    return _snap(x), _snap(y), inverse_depth.to(tl.float32)


@triton.jit
@no_type_check
def _least(dx, dy):
    """A centre exactly on an edge (0) counts if the edge is a left or a top one."""
    return tl.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, 1)


@triton.jit
@no_type_check
def _draw_each(
    keys, width, triangle, count, top, left, columns,
    x0, y0, x1, y1, x2, y2, w0, w1, w2, inverse_area, BLOCK: tl.constexpr,
):  # fmt: skip
    """Every thread walks through the bounding box of its own triangle, row by row."""
    # Edge i lies opposite vertex i; inside, all three functions are positive.
    dx0, dy0 = (x2 - x1).to(tl.int64), (y2 - y1).to(tl.int64)
    dx1, dy1 = (x0 - x2).to(tl.int64), (y0 - y2).to(tl.int64)
    dx2, dy2 = (x1 - x0).to(tl.int64), (y1 - y0).to(tl.int64)
    least0, least1, least2 = _least(dx0, dy0), _least(dx1, dy1), _least(dx2, dy2)
    x, y = left * _ONE + _HALF, top * _ONE + _HALF
    row0 = dx0 * (y - y1) - dy0 * (x - x1)
    row1 = dx1 * (y - y2) - dy1 * (x - x2)
    row2 = dx2 * (y - y0) - dy2 * (x - x0)
    e0, e1, e2 = row0, row1, row2
    column = tl.zeros([BLOCK], tl.int32)
    pixel = top * width + left
    # A while loop: Triton's interpreter cannot take a tensor as the end of a range.
    longest, step = tl.max(count, axis=0), 0
    while step < longest:
        _offer(keys, pixel, e0, e1, e2, least0, least1, least2, w0, w1, w2, inverse_area, triangle, step < count)
        column += 1
        ends = column == columns
        row0 = tl.where(ends, row0 + dx0 * _ONE, row0)
        row1 = tl.where(ends, row1 + dx1 * _ONE, row1)
        row2 = tl.where(ends, row2 + dx2 * _ONE, row2)
        e0 = tl.where(ends, row0, e0 - dy0 * _ONE)
        e1 = tl.where(ends, row1, e1 - dy1 * _ONE)
        e2 = tl.where(ends, row2, e2 - dy2 * _ONE)
        pixel += tl.where(ends, width - columns + 1, 1)
        column = tl.where(ends, 0, column)
        step += 1


@triton.jit
@no_type_check
def _draw_together(
    keys, width, triangle, first_row, last_row, row_step, left, right,
    x0, y0, x1, y1, x2, y2, w0, w1, w2, inverse_area, BLOCK: tl.constexpr,
):  # fmt: skip
    """All threads draw one triangle (everything here is a scalar), a piece of a row at a time."""
    dx0, dy0 = (x2 - x1).to(tl.int64), (y2 - y1).to(tl.int64)
    dx1, dy1 = (x0 - x2).to(tl.int64), (y0 - y2).to(tl.int64)
    dx2, dy2 = (x1 - x0).to(tl.int64), (y1 - y0).to(tl.int64)
    least0, least1, least2 = _least(dx0, dy0), _least(dx1, dy1), _least(dx2, dy2)
    row = first_row
    while row <= last_row:
        y = row * _ONE + _HALF
        column = left + tl.arange(0, BLOCK)
        while tl.min(column, axis=0) <= right:
            x = column * _ONE + _HALF
            e0 = dx0 * (y - y1) - dy0 * (x - x1)
            e1 = dx1 * (y - y2) - dy1 * (x - x2)
            e2 = dx2 * (y - y0) - dy2 * (x - x0)
            pixel, mask = row * width + column, column <= right
            _offer(keys, pixel, e0, e1, e2, least0, least1, least2, w0, w1, w2, inverse_area, triangle, mask)
            column += BLOCK
        row += row_step


@triton.jit
@no_type_check
def _draw(
    vertices, triangles, focals, principals, keys, n_vertices, n_triangles, height, width,
    BLOCK: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """Offer ``BLOCK`` triangles of one image to the pixels that they cover; axis 1 of the grid is for large ones."""
    band, image = tl.program_id(1), tl.program_id(2)
    vertices += image.to(tl.int64) * n_vertices * 3
    keys += image.to(tl.int64) * height * width
    focal = tl.load(focals + image).to(tl.float64)
    cx = tl.load(principals + image * 2).to(tl.float64)
    cy = tl.load(principals + image * 2 + 1).to(tl.float64)

    lane = tl.arange(0, BLOCK)
    triangle = tl.program_id(0) * BLOCK + lane
    wanted = triangle < n_triangles
    a = tl.load(triangles + triangle * 3, mask=wanted, other=-1)
    b = tl.load(triangles + triangle * 3 + 1, mask=wanted, other=-1)
    c = tl.load(triangles + triangle * 3 + 2, mask=wanted, other=-1)
    x0, y0, w0 = _corner(vertices, a, n_vertices, focal, cx, cy, wanted)
    x1, y1, w1 = _corner(vertices, b, n_vertices, focal, cx, cy, wanted)
    x2, y2, w2 = _corner(vertices, c, n_vertices, focal, cx, cy, wanted)
    top = tl.maximum((_smallest(y0, y1, y2) + (_HALF - 1)) >> _BITS, 0)
    bottom = tl.minimum((_largest(y0, y1, y2) - _HALF) >> _BITS, height - 1)
    left = tl.maximum((_smallest(x0, x1, x2) + (_HALF - 1)) >> _BITS, 0)
    right = tl.minimum((_largest(x0, x1, x2) - _HALF) >> _BITS, width - 1)

    area = (x1 - x0).to(tl.int64) * (y2 - y0) - (x2 - x0).to(tl.int64) * (y1 - y0)
    drawn = (top <= bottom) & (left <= right) & (w0 > 0) & (w1 > 0) & (w2 > 0) & (area != 0)
    turned = area < 0
    area = tl.where(area == 0, 1, tl.abs(area))
    x1, x2 = tl.where(turned, x2, x1), tl.where(turned, x1, x2)
    y1, y2 = tl.where(turned, y2, y1), tl.where(turned, y1, y2)
    w1, w2 = tl.where(turned, w2, w1), tl.where(turned, w1, w2)
    inverse_area = tl.div_rn(tl.full([BLOCK], 1.0, tl.float32), area.to(tl.float32))
    columns = right - left + 1
    pixels = tl.where(drawn, columns * (bottom - top + 1), 0)

    if band == 0:
        _draw_each(
            keys, width, triangle, tl.where(pixels <= LARGE, pixels, 0), top, left, columns,
            x0, y0, x1, y1, x2, y2, w0, w1, w2, inverse_area, BLOCK,
        )  # fmt: skip
    if tl.max(pixels, axis=0) > LARGE:
        for which in range(BLOCK):
            chosen = lane == which
            if _pick(pixels, chosen) > LARGE:
                _draw_together(
                    keys, width, tl.program_id(0) * BLOCK + which, _pick(top, chosen) + band, _pick(bottom, chosen),
                    tl.num_programs(1), _pick(left, chosen), _pick(right, chosen),
                    _pick(x0, chosen), _pick(y0, chosen), _pick(x1, chosen), _pick(y1, chosen),
                    _pick(x2, chosen), _pick(y2, chosen), _pick(w0, chosen), _pick(w1, chosen), _pick(w2, chosen),
                    _pick(inverse_area, chosen), BLOCK,
                )  # fmt: skip


@triton.jit
@no_type_check
def _resolve(
    vertices, triangles, focals, principals, keys, ids, barycentrics, depths, n_vertices, height, width,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write id, perspective-correct barycentrics and depth of ``BLOCK`` pixels of one image."""
    image = tl.program_id(1)
    vertices += image.to(tl.int64) * n_vertices * 3
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < height * width
    focal = tl.load(focals + image).to(tl.float64)
    centre_x = tl.load(principals + image * 2).to(tl.float64)
    centre_y = tl.load(principals + image * 2 + 1).to(tl.float64)
    out = image.to(tl.int64) * height * width + pixel
    key = tl.load(keys + out, mask=exists, other=0)
    covered = key != 0
    triangle = tl.where(covered, (key & _LAST_ID).to(tl.int32) ^ _LAST_ID, -1)
    tl.store(ids + out, triangle, mask=exists)

    corners = triangles + triangle * 3
    a = tl.load(corners, mask=covered, other=-1)
    b = tl.load(corners + 1, mask=covered, other=-1)
    c = tl.load(corners + 2, mask=covered, other=-1)
    x, y = (pixel % width).to(tl.float64) + 0.5, (pixel // width).to(tl.float64) + 0.5
    x0, y0, iz0 = _project(vertices, a, n_vertices, focal, centre_x, centre_y, covered)
    x1, y1, iz1 = _project(vertices, b, n_vertices, focal, centre_x, centre_y, covered)
    x2, y2, iz2 = _project(vertices, c, n_vertices, focal, centre_x, centre_y, covered)
    x0, y0 = x0 - x, y0 - y
    x1, y1 = x1 - x, y1 - y
    x2, y2 = x2 - x, y2 - y
    w0, w1, w2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    sign = tl.where(w0 + w1 + w2 < 0, -1.0, 1.0)
    w0, w1, w2 = tl.maximum(w0 * sign, 0.0), tl.maximum(w1 * sign, 0.0), tl.maximum(w2 * sign, 0.0)
    screen = w0 + w1 + w2
    w0, w1, w2 = w0 * iz0, w1 * iz1, w2 * iz2
    total = w0 + w1 + w2
    # A needle without area before snapping gets the weights of its first corner.
    flat = total <= 0
    w0, screen, total = tl.where(flat, iz0, w0), tl.where(flat, 1.0, screen), tl.where(flat, iz0, total)
    scale = 1.0 / tl.where(covered, total, 1.0)
    w0, w1, w2 = w0 * scale, w1 * scale, w2 * scale
    depth = tl.where(covered, screen * scale, float("inf"))
    kind = depths.dtype.element_ty
    tl.store(barycentrics + out * 3, w0.to(kind), mask=exists)
    tl.store(barycentrics + out * 3 + 1, w1.to(kind), mask=exists)
    tl.store(barycentrics + out * 3 + 2, w2.to(kind), mask=exists)
    tl.store(depths + out, depth.to(kind), mask=exists)


class TritonRasterizer:
    """Rasterises on CUDA; see `raster_rules` for what it draws, `rasterize.get_rasterizer` for how to get one.

    Deterministic. An image may have up to 2^31 pixels.

    Args:
        triangles_a_program: a warp draws so many triangles, one a thread.
        pixels_a_program: so many pixels are resolved by one program.
        large: a triangle whose bounding box has more pixels is drawn by the whole warp.
    """

    name = "triton"

    def __init__(self, triangles_a_program: int = 32, pixels_a_program: int = 128, large: int = 1024) -> None:
        self._triangles_a_program = triangles_a_program
        self._pixels_a_program = pixels_a_program
        self._large = large

    def draw(
        self, vertices_view: Float[Tensor, "batch vertex 3"], triangles: Int[Tensor, "triangle 3"], camera: Camera
    ) -> Fragments:
        """Draw checked input (see `rasterize.Rasterizer`), without gradients."""
        batch, n_vertices = vertices_view.shape[:2]
        n_triangles, height, width = triangles.shape[0], camera.height, camera.width
        vertices = vertices_view.detach().contiguous()
        faces = triangles.contiguous()
        focal, principal = camera.focal_px.detach().contiguous(), camera.principal_px.detach().contiguous()
        shape, device = (batch, height, width), vertices.device
        keys = torch.zeros(shape, dtype=torch.int64, device=device)
        ids = torch.empty(shape, dtype=torch.int32, device=device)
        barycentrics = torch.empty((*shape, 3), dtype=vertices.dtype, device=device)
        depth = torch.empty(shape, dtype=vertices.dtype, device=device)
        warps = min(max(self._pixels_a_program // 32, 1), 4)
        bands = min(max(height * width // (n_triangles * _PIXELS_A_BAND), 1), _MOST_BANDS, height)
        with on_device(device):
            _draw[(triton.cdiv(n_triangles, self._triangles_a_program), bands, batch)](
                vertices, faces, focal, principal, keys, n_vertices, n_triangles, height, width,
                BLOCK=self._triangles_a_program, LARGE=self._large, num_warps=1, enable_fp_fusion=False,
            )  # fmt: skip
            _resolve[(triton.cdiv(height * width, self._pixels_a_program), batch)](
                vertices, faces, focal, principal, keys, ids, barycentrics, depth, n_vertices, height, width,
                BLOCK=self._pixels_a_program, num_warps=warps, enable_fp_fusion=False,
            )  # fmt: skip
        return Fragments(ids, barycentrics, depth)


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it this one."""
    if device.type == "cuda" and device.index not in (None, torch.cuda.current_device()):
        return torch.cuda.device(device)
    return nullcontext()
