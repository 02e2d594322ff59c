"""Fused CUDA kernels for `interpolate`, `sampling` and `barycentrics`, forward and backward.

They compute what the torch code beside them computes, in one pass over the pixels instead of dozens. Gradients to
tables, maps, vertices and cameras are added up with atomics, so their last digits may differ from run to run (see
`triton_paths` for when they are used).
"""

from __future__ import annotations

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from facealbedo.core.render.raster_triton import on_device

_BLOCK = 128


@triton.jit
@no_type_check
def _corners_of(triangles, triangle, mask):
    a = tl.load(triangles + triangle * 3, mask=mask, other=0)
    b = tl.load(triangles + triangle * 3 + 1, mask=mask, other=0)
    c = tl.load(triangles + triangle * 3 + 2, mask=mask, other=0)
    return a, b, c


@triton.jit
@no_type_check
def _blend(
    ids, weights, triangles, table, out, n_points, n_triangles, table_stride,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``out[image, channel, point]`` = weighted sum of three rows of the table."""
    image = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = point < n_points
    at = image * n_points + point
    triangle = tl.load(ids + at, mask=exists, other=-1)
    covered = (triangle >= 0) & (triangle < n_triangles)
    a, b, c = _corners_of(triangles, triangle, covered)
    w0 = tl.load(weights + at * 3, mask=covered, other=0.0)
    w1 = tl.load(weights + at * 3 + 1, mask=covered, other=0.0)
    w2 = tl.load(weights + at * 3 + 2, mask=covered, other=0.0)
    table += image * table_stride
    out += image * n_points * CHANNELS + point
    for channel in range(CHANNELS):
        v0 = tl.load(table + a * CHANNELS + channel, mask=covered, other=0.0)
        v1 = tl.load(table + b * CHANNELS + channel, mask=covered, other=0.0)
        v2 = tl.load(table + c * CHANNELS + channel, mask=covered, other=0.0)
        tl.store(out + channel * n_points, w0 * v0 + w1 * v1 + w2 * v2, mask=exists)


@triton.jit
@no_type_check
def _blend_backward(
    ids, weights, triangles, table, gradient, to_table, to_weights, n_points, n_triangles, table_stride,
    CHANNELS: tl.constexpr, TABLE: tl.constexpr, WEIGHTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = point < n_points
    at = image * n_points + point
    triangle = tl.load(ids + at, mask=exists, other=-1)
    covered = (triangle >= 0) & (triangle < n_triangles)
    a, b, c = _corners_of(triangles, triangle, covered)
    w0 = tl.load(weights + at * 3, mask=covered, other=0.0)
    w1 = tl.load(weights + at * 3 + 1, mask=covered, other=0.0)
    w2 = tl.load(weights + at * 3 + 2, mask=covered, other=0.0)
    table += image * table_stride
    to_table += image * table_stride
    gradient += image * n_points * CHANNELS + point
    g0, g1, g2 = w0 * 0, w1 * 0, w2 * 0
    for channel in range(CHANNELS):
        g = tl.load(gradient + channel * n_points, mask=covered, other=0.0)
        felt = covered & (g != 0)
        if TABLE:
            tl.atomic_add(to_table + a * CHANNELS + channel, w0 * g, mask=felt, sem="relaxed")
            tl.atomic_add(to_table + b * CHANNELS + channel, w1 * g, mask=felt, sem="relaxed")
            tl.atomic_add(to_table + c * CHANNELS + channel, w2 * g, mask=felt, sem="relaxed")
        if WEIGHTS:
            g0 += g * tl.load(table + a * CHANNELS + channel, mask=covered, other=0.0)
            g1 += g * tl.load(table + b * CHANNELS + channel, mask=covered, other=0.0)
            g2 += g * tl.load(table + c * CHANNELS + channel, mask=covered, other=0.0)
    if WEIGHTS:
        tl.store(to_weights + at * 3, g0, mask=exists)
        tl.store(to_weights + at * 3 + 1, g1, mask=exists)
        tl.store(to_weights + at * 3 + 2, g2, mask=exists)


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Any, weights: Any, triangles: Any, table: Any) -> Any:
        batch, n_points = ids.shape
        out = table.new_empty(batch, table.shape[2], n_points)
        stride = table[0].numel() if table.shape[0] > 1 else 0
        sizes = n_points, triangles.shape[0], stride
        with on_device(ids.device):
            _blend[(triton.cdiv(n_points, _BLOCK), batch)](
                ids, weights, triangles, table, out, *sizes, CHANNELS=table.shape[2], BLOCK=_BLOCK
            )
        ctx.save_for_backward(ids, weights, triangles, table)
        ctx.sizes = sizes
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        ids, weights, triangles, table = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        _, wants_weights, _, wants_table = ctx.needs_input_grad
        to_table = torch.zeros_like(table) if wants_table else table
        to_weights = torch.empty_like(weights) if wants_weights else weights
        with on_device(ids.device):
            _blend_backward[(triton.cdiv(ids.shape[1], _BLOCK), ids.shape[0])](
                ids, weights, triangles, table, gradient, to_table, to_weights, *ctx.sizes,
                CHANNELS=table.shape[2], TABLE=wants_table, WEIGHTS=wants_weights, BLOCK=_BLOCK,
            )  # fmt: skip
        return None, to_weights if wants_weights else None, None, to_table if wants_table else None


def blend_corners(table: Tensor, triangles: Tensor, triangle_id: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the rows of a triangle's corners at every point; 0 where there is no such triangle.

    Args:
        table: [batch or 1, row, channel].
        triangles: [triangle, 3] into the rows.
        triangle_id: [batch, point].
        weights: [batch, point, 3], dtype of the table.

    Returns:
        [batch, channel, point].
    """
    inputs = triangle_id.contiguous(), weights.contiguous(), triangles.contiguous(), table.contiguous()
    return _Blend.apply(*inputs)


@triton.jit
@no_type_check
def _place(points, at, exists, height, width):
    """Texel left of and above a point, shares of its right and lower neighbours, and whether the point is within."""
    x = tl.load(points + at * 2, mask=exists, other=0.0) - 0.5
    y = tl.load(points + at * 2 + 1, mask=exists, other=0.0) - 0.5
    # Written so that NaN reads the first texel.
    within_x, within_y = (x >= 0) & (x <= width - 1), (y >= 0) & (y <= height - 1)
    x = tl.where(x > 0, tl.where(x < width - 1, x, (width - 1).to(x.dtype)), 0.0)
    y = tl.where(y > 0, tl.where(y < height - 1, y, (height - 1).to(y.dtype)), 0.0)
    left = tl.minimum(x.to(tl.int32), tl.maximum(width - 2, 0))
    top = tl.minimum(y.to(tl.int32), tl.maximum(height - 2, 0))
    return left, top, x - left.to(x.dtype), y - top.to(y.dtype), within_x, within_y


@triton.jit
@no_type_check
def _read(image, points, out, n_points, height, width, image_stride, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Bilinear reading of ``image[b, channel]`` at ``points[b]``."""
    height, width = tl.cast(height, tl.int32), tl.cast(width, tl.int32)
    entry = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = point < n_points
    left, top, along, down, _, _ = _place(points, entry * n_points + point, exists, height, width)
    here = image + entry * image_stride + top * width + left
    right = tl.minimum(width - 1, 1)
    below = tl.where(height > 1, width, 0)
    out += entry * n_points * CHANNELS + point
    for channel in range(CHANNELS):
        v00 = tl.load(here, mask=exists, other=0.0)
        v01 = tl.load(here + right, mask=exists, other=0.0)
        v10 = tl.load(here + below, mask=exists, other=0.0)
        v11 = tl.load(here + below + right, mask=exists, other=0.0)
        upper, lower = v00 + along * (v01 - v00), v10 + along * (v11 - v10)
        tl.store(out + channel * n_points, upper + down * (lower - upper), mask=exists)
        here += height * width


@triton.jit
@no_type_check
def _read_backward(
    image, points, gradient, to_image, to_points, n_points, height, width, image_stride,
    CHANNELS: tl.constexpr, IMAGE: tl.constexpr, POINTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    height, width = tl.cast(height, tl.int32), tl.cast(width, tl.int32)
    entry = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = point < n_points
    at = entry * n_points + point
    left, top, along, down, within_x, within_y = _place(points, at, exists, height, width)
    offset = entry * image_stride + top * width + left
    right = tl.minimum(width - 1, 1)
    below = tl.where(height > 1, width, 0)
    gradient += entry * n_points * CHANNELS + point
    gx, gy = along * 0, down * 0
    for channel in range(CHANNELS):
        g = tl.load(gradient + channel * n_points, mask=exists, other=0.0)
        felt = exists & (g != 0)
        if IMAGE:
            there = to_image + offset
            tl.atomic_add(there, g * (1 - along) * (1 - down), mask=felt, sem="relaxed")
            tl.atomic_add(there + right, g * along * (1 - down), mask=felt, sem="relaxed")
            tl.atomic_add(there + below, g * (1 - along) * down, mask=felt, sem="relaxed")
            tl.atomic_add(there + below + right, g * along * down, mask=felt, sem="relaxed")
        if POINTS:
            here = image + offset
            v00 = tl.load(here, mask=felt, other=0.0)
            v01 = tl.load(here + right, mask=felt, other=0.0)
            v10 = tl.load(here + below, mask=felt, other=0.0)
            v11 = tl.load(here + below + right, mask=felt, other=0.0)
            gx += g * ((v01 - v00) * (1 - down) + (v11 - v10) * down)
            gy += g * ((v10 - v00) * (1 - along) + (v11 - v01) * along)
        offset += height * width
    if POINTS:
        tl.store(to_points + at * 2, tl.where(within_x, gx, 0.0), mask=exists)
        tl.store(to_points + at * 2 + 1, tl.where(within_y, gy, 0.0), mask=exists)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Any, points: Any) -> Any:
        batch, n_points = points.shape[:2]
        channels, height, width = image.shape[1:]
        out = image.new_empty(batch, channels, n_points)
        ctx.sizes = n_points, height, width, channels * height * width if image.shape[0] > 1 else 0
        with on_device(image.device):
            _read[(triton.cdiv(n_points, _BLOCK), batch)](
                image, points, out, *ctx.sizes, CHANNELS=channels, BLOCK=_BLOCK
            )
        ctx.save_for_backward(image, points)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        image, points = ctx.saved_tensors
        wants_image, wants_points = ctx.needs_input_grad
        to_image = torch.zeros_like(image) if wants_image else image
        to_points = torch.empty_like(points) if wants_points else points
        with on_device(image.device):
            _read_backward[(triton.cdiv(points.shape[1], _BLOCK), points.shape[0])](
                image, points, gradients[0].contiguous(), to_image, to_points, *ctx.sizes,
                CHANNELS=image.shape[1], IMAGE=wants_image, POINTS=wants_points, BLOCK=_BLOCK,
            )  # fmt: skip
        return to_image if wants_image else None, to_points if wants_points else None


def read_bilinear(image: Tensor, points: Tensor) -> Tensor:
    """Bilinear readings, the border repeated outside; as `sampling.sample_bilinear`.

    Args:
        image: [batch or 1, channel, height, width].
        points: [batch, point, 2], (x, y) in texels; NaN reads the first texel.

    Returns:
        [batch, channel, point].
    """
    return _Read.apply(image.contiguous(), points.contiguous())


@triton.jit
@no_type_check
def _seen_corner(vertices, index, focal, centre_x, centre_y, x, y, mask):
    """A corner (view frame), its place relative to the pixel, and 1/depth, all float64."""
    at = vertices + index * 3
    vx = tl.load(at, mask=mask, other=0.0).to(tl.float64)
    vy = tl.load(at + 1, mask=mask, other=0.0).to(tl.float64)
    vz = tl.load(at + 2, mask=mask, other=-1.0).to(tl.float64)
    near = -1.0 / vz
    return vx, vy, near, focal * vx * near + centre_x - x, -focal * vy * near + centre_y - y


@triton.jit
@no_type_check
def _push(to_vertices, index, gx, gy, vx, vy, near, to_near, to_depth, focal, mask):
    """Add to a corner the gradient of its place on the screen, its 1/depth and its depth."""
    to_near += focal * (gx * vx - gy * vy)
    kind = to_vertices.dtype.element_ty
    at = to_vertices + index * 3
    tl.atomic_add(at, (focal * near * gx).to(kind), mask=mask, sem="relaxed")
    tl.atomic_add(at + 1, (-focal * near * gy).to(kind), mask=mask, sem="relaxed")
    tl.atomic_add(at + 2, (near * near * to_near - to_depth).to(kind), mask=mask, sem="relaxed")


@triton.jit
@no_type_check
def _weights_backward(
    ids, triangles, vertices, focals, principals, of_weights, of_depth, to_vertices, to_focal, to_principal,
    n_vertices, height, width, tolerance, CAMERA: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of barycentrics and depth to vertices and camera."""
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < height * width
    at = image * height * width + pixel
    triangle = tl.load(ids + at, mask=exists, other=-1)
    covered = triangle >= 0
    a, b, c = _corners_of(triangles, triangle, covered)
    focal = tl.load(focals + image).to(tl.float64)
    cx = tl.load(principals + image * 2).to(tl.float64)
    cy = tl.load(principals + image * 2 + 1).to(tl.float64)
    x, y = (pixel % width).to(tl.float64) + 0.5, (pixel // width).to(tl.float64) + 0.5
    vertices += image * n_vertices * 3
    vx0, vy0, near0, x0, y0 = _seen_corner(vertices, a, focal, cx, cy, x, y, covered)
    vx1, vy1, near1, x1, y1 = _seen_corner(vertices, b, focal, cx, cy, x, y, covered)
    vx2, vy2, near2, x2, y2 = _seen_corner(vertices, c, focal, cx, cy, x, y, covered)
    e0, e1, e2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
    total = e0 * near0 + e1 * near1 + e2 * near2
    scale = 1.0 / tl.where(total == 0, 1.0, total)
    w0, w1, w2 = e0 * near0 * scale, e1 * near1 * scale, e2 * near2 * scale
    # Needles that only the rasteriser's grid puts under the pixel keep their weights, without gradient.
    low, high = tl.minimum(tl.minimum(w0, w1), w2), tl.maximum(tl.maximum(w0, w1), w2)
    plain = covered & (e0 + e1 + e2 != 0) & (total != 0) & (low > -tolerance) & (high < 1 + tolerance)

    gd = tl.load(of_depth + at, mask=covered, other=0.0).to(tl.float64)
    g0 = tl.load(of_weights + at * 3, mask=covered, other=0.0).to(tl.float64) + gd / near0
    g1 = tl.load(of_weights + at * 3 + 1, mask=covered, other=0.0).to(tl.float64) + gd / near1
    g2 = tl.load(of_weights + at * 3 + 2, mask=covered, other=0.0).to(tl.float64) + gd / near2
    mean = g0 * w0 + g1 * w1 + g2 * w2
    # h: gradient of e / depth, d: of e.
    h0, h1, h2 = (g0 - mean) * scale, (g1 - mean) * scale, (g2 - mean) * scale
    d0, d1, d2 = h0 * near0, h1 * near1, h2 * near2
    gx0, gy0 = d2 * y1 - d1 * y2, d1 * x2 - d2 * x1
    gx1, gy1 = d0 * y2 - d2 * y0, d2 * x0 - d0 * x2
    gx2, gy2 = d1 * y0 - d0 * y1, d0 * x1 - d1 * x0
    felt = plain & ((g0 != 0) | (g1 != 0) | (g2 != 0))
    to_vertices += image * n_vertices * 3
    _push(to_vertices, a, gx0, gy0, vx0, vy0, near0, h0 * e0, gd * w0, focal, felt)
    _push(to_vertices, b, gx1, gy1, vx1, vy1, near1, h1 * e1, gd * w1, focal, felt)
    _push(to_vertices, c, gx2, gy2, vx2, vy2, near2, h2 * e2, gd * w2, focal, felt)
    if CAMERA:
        of_focal = near0 * (gx0 * vx0 - gy0 * vy0) + near1 * (gx1 * vx1 - gy1 * vy1) + near2 * (gx2 * vx2 - gy2 * vy2)
        kind = to_focal.dtype.element_ty
        tl.atomic_add(to_focal + image, tl.sum(tl.where(felt, of_focal, 0.0)).to(kind), sem="relaxed")
        across, along = tl.where(felt, gx0 + gx1 + gx2, 0.0), tl.where(felt, gy0 + gy1 + gy2, 0.0)
        tl.atomic_add(to_principal + image * 2, tl.sum(across).to(kind), sem="relaxed")
        tl.atomic_add(to_principal + image * 2 + 1, tl.sum(along).to(kind), sem="relaxed")


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: Any, depth: Any, ids: Any, triangles: Any, vertices: Any, focal: Any, principal: Any,
        tolerance: float,
    ) -> Any:  # fmt: skip
        ctx.save_for_backward(ids, triangles, vertices, focal, principal)
        ctx.tolerance = tolerance
        return weights.view_as(weights), depth.view_as(depth)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        ids, triangles, vertices, focal, principal = ctx.saved_tensors
        batch, height, width = ids.shape
        wants_camera = any(ctx.needs_input_grad[5:7])
        to_vertices = torch.zeros_like(vertices)
        to_focal, to_principal = torch.zeros_like(focal), torch.zeros_like(principal)
        with on_device(ids.device):
            _weights_backward[(triton.cdiv(height * width, _BLOCK), batch)](
                ids, triangles, vertices, focal, principal, gradients[0].contiguous(), gradients[1].contiguous(),
                to_vertices, to_focal, to_principal, vertices.shape[1], height, width, ctx.tolerance,
                CAMERA=wants_camera, BLOCK=_BLOCK,
            )  # fmt: skip
        return (
            None,
            None,
            None,
            None,
            to_vertices,
            *((to_focal, to_principal) if wants_camera else (None, None)),
            None,
        )


def attach_gradients(
    weights: Tensor, depth: Tensor, triangle_id: Tensor, triangles: Tensor, vertices: Tensor, focal: Tensor,
    principal: Tensor, tolerance: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Barycentrics and depth as they are, with gradients to vertices (view frame) and camera.

    Where the exact weights leave [-tolerance, 1 + tolerance] there is no gradient.
    """
    inputs = triangle_id.contiguous(), triangles.contiguous(), vertices.contiguous()
    return _Weights.apply(weights, depth, *inputs, focal.contiguous(), principal.contiguous(), tolerance)


@triton.jit
@no_type_check
def _harmonic(k: tl.constexpr, x, y, z):
    """Basis function ``k`` of order 2 times the factor that makes irradiance of radiance, and its gradient.

    As `core.lighting.sh`: pi * 0.5 / sqrt(pi); (2 pi / 3) * sqrt(3 / (4 pi)); (pi / 4) * sqrt(15 / (4 pi)) and so on.
    """
    if k == 0:
        value, dx, dy, dz = x * 0 + 0.886226925452758, x * 0, x * 0, x * 0
    elif k == 1:
        value, dx, dy, dz = 1.0233267079464885 * y, x * 0, x * 0 + 1.0233267079464885, x * 0
    elif k == 2:
        value, dx, dy, dz = 1.0233267079464885 * z, x * 0, x * 0, x * 0 + 1.0233267079464885
    elif k == 3:
        value, dx, dy, dz = 1.0233267079464885 * x, x * 0 + 1.0233267079464885, x * 0, x * 0
    elif k == 4:
        value, dx, dy, dz = 0.8580855308097834 * x * y, 0.8580855308097834 * y, 0.8580855308097834 * x, x * 0
    elif k == 5:
        value, dx, dy, dz = 0.8580855308097834 * y * z, x * 0, 0.8580855308097834 * z, 0.8580855308097834 * y
    elif k == 6:
        value, dx, dy, dz = 0.24770795610037571 * (3 * z * z - 1), x * 0, x * 0, 1.4862477366022543 * z
    elif k == 7:
        value, dx, dy, dz = 0.8580855308097834 * x * z, 0.8580855308097834 * z, x * 0, 0.8580855308097834 * x
    else:
        value, dx, dy = 0.4290427654048917 * (x * x - y * y), 0.8580855308097834 * x, -0.8580855308097834 * y
        dz = x * 0
    return value, dx, dy, dz


@triton.jit
@no_type_check
def _illuminate(light, points, normals, out, n_points, height, width, light_stride, BLOCK: tl.constexpr):
    """Irradiance at every point from the order-2 light read there."""
    height, width = tl.cast(height, tl.int32), tl.cast(width, tl.int32)
    entry = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = point < n_points
    left, top, along, down, _, _ = _place(points, entry * n_points + point, exists, height, width)
    here = light + entry * light_stride + top * width + left
    right = tl.minimum(width - 1, 1)
    below = tl.where(height > 1, width, 0)
    normal = normals + entry * n_points * 3 + point
    x = tl.load(normal, mask=exists, other=0.0)
    y = tl.load(normal + n_points, mask=exists, other=0.0)
    z = tl.load(normal + n_points * 2, mask=exists, other=0.0)
    out += entry * n_points * 3 + point
    # The normal is 0 where no surface is: there the light need not be read.
    seen = exists & ((x != 0) | (y != 0) | (z != 0))
    for _colour in tl.static_range(3):
        total = x * 0
        for k in tl.static_range(9):
            v00 = tl.load(here, mask=seen, other=0.0)
            v01 = tl.load(here + right, mask=seen, other=0.0)
            v10 = tl.load(here + below, mask=seen, other=0.0)
            v11 = tl.load(here + below + right, mask=seen, other=0.0)
            upper, lower = v00 + along * (v01 - v00), v10 + along * (v11 - v10)
            value, _dx, _dy, _dz = _harmonic(k, x, y, z)
            total += (upper + down * (lower - upper)) * value
            here += height * width
        tl.store(out, total, mask=exists)
        out += n_points


@triton.jit
@no_type_check
def _illuminate_backward(
    light, points, normals, gradient, to_light, to_points, to_normals, n_points, height, width, light_stride,
    LIGHT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    height, width = tl.cast(height, tl.int32), tl.cast(width, tl.int32)
    entry = tl.program_id(1).to(tl.int64)
    point = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = point < n_points
    at = entry * n_points + point
    left, top, along, down, within_x, within_y = _place(points, at, exists, height, width)
    offset = entry * light_stride + top * width + left
    right = tl.minimum(width - 1, 1)
    below = tl.where(height > 1, width, 0)
    first = entry * n_points * 3 + point
    x = tl.load(normals + first, mask=exists, other=0.0)
    y = tl.load(normals + first + n_points, mask=exists, other=0.0)
    z = tl.load(normals + first + n_points * 2, mask=exists, other=0.0)
    seen = exists & ((x != 0) | (y != 0) | (z != 0))
    gx, gy, nx, ny, nz = x * 0, x * 0, x * 0, x * 0, x * 0
    for colour in tl.static_range(3):
        g = tl.load(gradient + first + n_points * colour, mask=seen, other=0.0)
        felt = seen & (g != 0)
        for k in tl.static_range(9):
            value, dx, dy, dz = _harmonic(k, x, y, z)
            here = light + offset
            v00 = tl.load(here, mask=felt, other=0.0)
            v01 = tl.load(here + right, mask=felt, other=0.0)
            v10 = tl.load(here + below, mask=felt, other=0.0)
            v11 = tl.load(here + below + right, mask=felt, other=0.0)
            upper, lower = v00 + along * (v01 - v00), v10 + along * (v11 - v10)
            pull = g * (upper + down * (lower - upper))
            nx += pull * dx
            ny += pull * dy
            nz += pull * dz
            share = g * value
            gx += share * ((v01 - v00) * (1 - down) + (v11 - v10) * down)
            gy += share * (lower - upper)
            if LIGHT:
                there = to_light + offset
                tl.atomic_add(there, share * (1 - along) * (1 - down), mask=felt, sem="relaxed")
                tl.atomic_add(there + right, share * along * (1 - down), mask=felt, sem="relaxed")
                tl.atomic_add(there + below, share * (1 - along) * down, mask=felt, sem="relaxed")
                tl.atomic_add(there + below + right, share * along * down, mask=felt, sem="relaxed")
            offset += height * width
    tl.store(to_points + at * 2, tl.where(within_x, gx, 0.0), mask=exists)
    tl.store(to_points + at * 2 + 1, tl.where(within_y, gy, 0.0), mask=exists)
    tl.store(to_normals + first, nx, mask=exists)
    tl.store(to_normals + first + n_points, ny, mask=exists)
    tl.store(to_normals + first + n_points * 2, nz, mask=exists)


class _Illuminate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, light: Any, points: Any, normals: Any) -> Any:
        batch, n_points = points.shape[:2]
        height, width = light.shape[2:]
        out = torch.empty_like(normals)
        ctx.sizes = n_points, height, width, light[0].numel() if light.shape[0] > 1 else 0
        with on_device(light.device):
            _illuminate[(triton.cdiv(n_points, _BLOCK), batch)](light, points, normals, out, *ctx.sizes, BLOCK=_BLOCK)
        ctx.save_for_backward(light, points, normals)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        light, points, normals = ctx.saved_tensors
        wants_light = ctx.needs_input_grad[0]
        to_light = torch.zeros_like(light) if wants_light else light
        to_points, to_normals = torch.empty_like(points), torch.empty_like(normals)
        with on_device(light.device):
            _illuminate_backward[(triton.cdiv(points.shape[1], _BLOCK), points.shape[0])](
                light, points, normals, gradients[0].contiguous(), to_light, to_points, to_normals, *ctx.sizes,
                LIGHT=wants_light, BLOCK=_BLOCK,
            )  # fmt: skip
        return to_light if wants_light else None, to_points, to_normals


def illuminate(light: Tensor, points: Tensor, normals: Tensor) -> Tensor:
    """`sh.irradiance_per_texel` of light read bilinearly, without making the 27 channels at every point.

    Args:
        light: [batch or 1, 27, height, width], order 2, colour-major.
        points: [batch, point, 2], (x, y) in texels.
        normals: [batch, 3, point], unit, or 0 where there is no surface: irradiance is 0 there.

    Returns:
        [batch, 3, point].
    """
    inputs = light.contiguous(), points.contiguous(), normals.contiguous()
    return _Illuminate.apply(*inputs)
