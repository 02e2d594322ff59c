"""Sums over masks, differences and low passes: the arithmetic that the terms share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# A mask with less weight than this (pixels) counts as this much, so that a hidden face cannot dominate a batch.
SMALLEST_MASK = 50.0


def masked_mean(
    values: Float[Tensor, "batch 1 height width"], mask: Float[Tensor, "batch_or_1 1 height width"]
) -> Float[Tensor, "batch"]:
    """Weighted mean a face; 0 where the mask is empty."""
    weight = mask.expand_as(values).sum((1, 2, 3)).clamp(min=min(SMALLEST_MASK, values[0].numel() / 4))
    return (values * mask).sum((1, 2, 3)) / weight


def differences(
    values: Float[Tensor, "batch channel height width"], axis: int
) -> Float[Tensor, "batch channel smaller_height smaller_width"]:
    """Forward differences along the width (axis 0) or the height (axis 1)."""
    if axis == 0:
        return values[..., :, 1:] - values[..., :, :-1]
    return values[..., 1:, :] - values[..., :-1, :]


def both_ends(
    mask: Float[Tensor, "batch 1 height width"], axis: int
) -> Float[Tensor, "batch 1 smaller_height smaller_width"]:
    """Mask of the differences: the smaller weight of the two texels."""
    if axis == 0:
        return torch.minimum(mask[..., :, 1:], mask[..., :, :-1])
    return torch.minimum(mask[..., 1:, :], mask[..., :-1, :])


def erode(mask: Float[Tensor, "batch 1 height width"], size: int = 5) -> Float[Tensor, "batch 1 height width"]:
    """Smallest weight in a square window of odd ``size``; the image's border does not erode."""
    return -torch.nn.functional.max_pool2d(-mask, size, 1, size // 2)


def cell_means(
    values: Float[Tensor, "batch channel height width"], mask: Float[Tensor, "batch_or_1 1 height width"], cell: int
) -> Float[Tensor, "batch channel rows columns"]:
    """Weighted means over square cells; 0 where a cell has no weight. Cells commute with the mirror."""
    pool = torch.nn.functional.avg_pool2d
    return pool(values * mask, cell) / pool(mask, cell).clamp(min=1e-3)


def cells_inside(
    mask: Float[Tensor, "batch_or_1 1 height width"], cell: int, share: float = 0.3
) -> Float[Tensor, "batch_or_1 1 rows columns"]:
    """1 for the cells of which at least ``share`` lies in the mask."""
    return (torch.nn.functional.avg_pool2d(mask, cell) > share).to(mask.dtype)


def charbonnier(
    values: Float[Tensor, "batch channel height width"], width: float
) -> Float[Tensor, "batch 1 height width"]:
    """Length over the channels, quadratic below ``width`` and linear above: ``sqrt(|x|² + width²) - width``.

    A plain length makes texels switch between two answers (blotches); this one averages small differences.
    """
    return (values.square().sum(1, keepdim=True) + width * width).sqrt() - width


def length(values: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Length over the channels, with a gradient of 0 (not NaN) at 0."""
    return (values.square().sum(1, keepdim=True) + 1e-6).sqrt()
