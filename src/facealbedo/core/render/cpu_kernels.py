"""The CPU's fast paths of `interpolate` and `sampling`, for when nobody asks for a gradient.

They compute what the torch code beside them computes, in one pass over the pixels instead of dozens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, no_type_check

import numba
import numpy as np
import torch
from torch import Tensor

# Compiled code is kept on disk beside the module (or in the user's cache), so only a first run waits for it. The
# kernels release the interpreter lock; numba's own parallel mode is not used, because its threads neither survive a
# fork (data loaders) nor take calls from two threads.
compile_kernel: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(cache=True, nogil=True)

_ROWS_A_TASK = 16384


def usable(*tensors: Tensor) -> bool:
    """True if the fast paths can take these tensors: CPU, one precision, single or double, no gradient asked for."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return False
    kinds = {tensor.dtype for tensor in tensors}
    return len(kinds) == 1 and kinds <= {torch.float32, torch.float64} and all(t.device.type == "cpu" for t in tensors)


def run_tasks(function: Callable[[Any], None], tasks: Sequence[Any]) -> None:
    """Run independent tasks on as many threads as torch is set to use."""
    threads = torch.get_num_threads()
    if threads <= 1 or len(tasks) <= 1:
        for task in tasks:
            function(task)
        return
    # A pool a call costs 0.1 ms and leaves nothing behind that a forked process could trip over.
    with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
        list(pool.map(function, tasks))


def shares(total: int, parts: int) -> list[tuple[int, int]]:
    """Split ``total`` rows into about ``parts`` equal ranges."""
    edges = np.linspace(0, total, max(parts, 1) + 1).astype(int)
    return [(int(first), int(last)) for first, last in pairwise(edges) if last > first]


def blend_corners(table: Tensor, triangles: Tensor, triangle_id: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the rows of a triangle's corners at every point; 0 where there is no such triangle.

    Args:
        table: [batch or 1, row, channel].
        triangles: [triangle, 3] into the rows.
        triangle_id: [batch or 1, point].
        weights: [batch or 1, point, 3], dtype of the table.

    Returns:
        [batch, channel, point].
    """
    batch = max(table.shape[0], triangle_id.shape[0])
    points = triangle_id.shape[1]
    out = np.empty((batch, table.shape[2], points), table.detach().numpy().dtype)
    rows, corners = table.detach().contiguous().numpy(), triangles.contiguous().numpy()
    ids, shares_of = triangle_id.contiguous().numpy(), weights.detach().contiguous().numpy()

    def blend(task: tuple[int, int, int]) -> None:
        image, first, last = task
        own = min(image, len(ids) - 1)
        _blend(rows[min(image, len(rows) - 1)], corners, ids[own], shares_of[own], first, last, out[image])

    run_tasks(blend, [(image, *part) for image in range(batch) for part in shares(points, points // _ROWS_A_TASK)])
    return torch.from_numpy(out)


@compile_kernel
@no_type_check
def _blend(table, triangles, triangle_id, weights, first, last, out):
    channels = table.shape[1]
    for point in range(first, last):
        triangle = triangle_id[point]
        if triangle < 0 or triangle >= len(triangles):
            for channel in range(channels):
                out[channel, point] = 0
            continue
        a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
        for channel in range(channels):
            out[channel, point] = (
                weights[point, 0] * table[a, channel]
                + weights[point, 1] * table[b, channel]
                + weights[point, 2] * table[c, channel]
            )


def read_pyramid(levels: Sequence[Tensor], points: Tensor, level: Tensor | None) -> Tensor:
    """Bilinear (and between levels linear) readings of a mip pyramid.

    Args:
        levels: images [batch or 1, channel, height, width], each half the one before.
        points: [batch, point, 2], (x, y) in texels of the first level.
        level: [batch, point], at least 0; None reads the first level.

    Returns:
        [batch, channel, point].
    """
    batch, count = points.shape[:2]
    images, channels = levels[0].shape[:2]
    heights = np.array([image.shape[2] for image in levels])
    widths = np.array([image.shape[3] for image in levels])
    starts = np.concatenate([[0], np.cumsum(heights * widths)[:-1]])
    flat = torch.cat([image.detach().flatten(2).transpose(1, 2) for image in levels], dim=1).contiguous().numpy()
    places = points.detach().contiguous().numpy()
    heights_read = np.zeros((batch, 1), places.dtype) if level is None else level.detach().contiguous().numpy()
    out = np.empty((batch, channels, count), flat.dtype)

    def read(task: tuple[int, int, int]) -> None:
        image, first, last = task
        pyramid = flat[min(image, images - 1)]
        _read(pyramid, starts, heights, widths, places[image], heights_read[image], first, last, out[image])

    run_tasks(read, [(image, *part) for image in range(batch) for part in shares(count, count // _ROWS_A_TASK)])
    return torch.from_numpy(out)


@compile_kernel
@no_type_check
def _read(pyramid, starts, heights, widths, points, levels, first, last, out):
    channels = pyramid.shape[1]
    deepest = len(starts) - 1
    for point in range(first, last):
        level = levels[point] if len(levels) > 1 else levels[0]
        level = min(level, deepest)
        finer = min(int(level), deepest)
        share = level - finer
        for channel in range(channels):
            out[channel, point] = 0
        for step in range(2):
            part = share if step else 1 - share
            if part <= 0:
                continue
            which = finer + step
            height, width = heights[which], widths[which]
            scale = 0.5**which
            x, y = points[point, 0] * scale - 0.5, points[point, 1] * scale - 0.5
            # Written so that NaN reads the first texel.
            x = min(x, width - 1.0) if x > 0 else 0.0
            y = min(y, height - 1.0) if y > 0 else 0.0
            left, top = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
            along, down = x - left, y - top
            here = starts[which] + top * width + left
            right = 1 if width > 1 else 0
            below = width if height > 1 else 0
            for channel in range(channels):
                upper = pyramid[here, channel] * (1 - along) + pyramid[here + right, channel] * along
                lower = pyramid[here + below, channel] * (1 - along) + pyramid[here + below + right, channel] * along
                out[channel, point] += part * (upper * (1 - down) + lower * down)
