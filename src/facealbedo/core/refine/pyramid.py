"""Pyramids over maps: filling holes smoothly and blending without seams.

All functions keep left-right symmetry exactly: a mirrored input gives the mirrored output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_EPSILON = 1e-6


def _halve(values: Float[Tensor, "batch channel height width"]) -> Tensor:
    return F.avg_pool2d(values, 2)


def _double(values: Float[Tensor, "batch channel height width"], size: tuple[int, int]) -> Tensor:
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


def _check_size(values: Tensor, levels: int) -> None:
    height, width = values.shape[-2:]
    if height % 2**levels or width % 2**levels:
        raise ValueError(f"a pyramid of {levels} levels needs a size divisible by {2**levels}, got {height}x{width}")


def pull_push(
    values: Float[Tensor, "batch channel height width"],
    weights: Float[Tensor, "batch 1 height width"],
    levels: int,
) -> Float[Tensor, "batch channel height width"]:
    """Extend ``values`` smoothly from where they are trusted to everywhere (Gortler et al. 1996, "The Lumigraph").

    Args:
        values: map of any unit; entries of zero weight are never read.
        weights: trust in [0, 1]; 1 keeps a value, 0 replaces it by the extension of its surroundings.
        levels: how many times the map is halved; the size must be divisible by ``2**levels``.

    Returns:
        The filled map; 0 everywhere for an entry of the batch without any weight.
    """
    _check_size(values, levels)
    values = torch.where(weights > 0, values, 0.0)
    if levels == 0:
        total = weights.sum((2, 3), keepdim=True)
        mean = (values * weights).sum((2, 3), keepdim=True) / total.clamp(min=_EPSILON)
        return values * weights + (1 - weights) * mean
    coarse_weight = _halve(weights)
    coarse = _halve(values * weights) / coarse_weight.clamp(min=_EPSILON)
    # One trusted texel in four is enough for the coarse texel: its mean is of the trusted ones alone.
    filled = pull_push(coarse, (coarse_weight * 4).clamp(max=1), levels - 1)
    return values * weights + (1 - weights) * _double(filled, (values.shape[-2], values.shape[-1]))


def blend_multiband(
    candidates: tuple[Float[Tensor, "batch channel height width"], ...],
    weights: tuple[Float[Tensor, "batch 1 height width"], ...],
    levels: int,
) -> Float[Tensor, "batch channel height width"]:
    """Blend maps band by band (Burt & Adelson 1983): each band crosses over a width of its own wavelength.

    Args:
        candidates: maps of one shape.
        weights: one map each; they are normalised to sum to one at every texel.
        levels: number of halvings; the size must be divisible by ``2**levels``.
    """
    if len(candidates) != len(weights) or not candidates:
        raise ValueError(f"one weight map a candidate: got {len(candidates)} candidates and {len(weights)} weights")
    _check_size(candidates[0], levels)
    total = torch.stack(weights).sum(0).clamp(min=_EPSILON)
    normalised = tuple(weight / total for weight in weights)
    return _blend(candidates, normalised, levels)


def _blend(candidates: tuple[Tensor, ...], weights: tuple[Tensor, ...], levels: int) -> Tensor:
    if levels == 0:
        return torch.stack([c * w for c, w in zip(candidates, weights, strict=True)]).sum(0)
    size = (candidates[0].shape[-2], candidates[0].shape[-1])
    coarse = tuple(_halve(candidate) for candidate in candidates)
    coarse_weights = tuple(_halve(weight) for weight in weights)
    band = torch.stack(
        [
            (candidate - _double(low, size)) * weight
            for candidate, low, weight in zip(candidates, coarse, weights, strict=True)
        ]
    ).sum(0)
    return band + _double(_blend(coarse, coarse_weights, levels - 1), size)
