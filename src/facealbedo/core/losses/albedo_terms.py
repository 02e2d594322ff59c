"""Terms on the albedo in the atlas: one value a face. "srgb" in a name: encoded values, as the eye weighs them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.losses.masked import (
    both_ends,
    cell_means,
    cells_inside,
    charbonnier,
    differences,
    length,
    masked_mean,
)
from facealbedo.core.render.uv import mirror_uv

PRIOR_WIDTH, LOW_PASS_WIDTH = 0.075, 0.15
LOW_PASS_CELL, SYMMETRY_CELL = 16, 8


def albedo_to_prior_loss(
    albedo_srgb: Float[Tensor, "batch 3 height width"],
    prior_srgb: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch_or_1 1 height width"],
    width: float = 0.0,
) -> Float[Tensor, "batch"]:
    """Mean distance of the albedo from the prior; ``width`` > 0 makes it quadratic below that (`charbonnier`)."""
    difference = albedo_srgb - prior_srgb
    return masked_mean(charbonnier(difference, width) if width > 0 else length(difference), mask)


def prior_decay(progress: float | Tensor, last: float = 0.3) -> float | Tensor:
    """Factor on the prior's weight: from 1 at the start (0) down to ``last`` at the end (1), linearly."""
    return 1 - (1 - last) * progress


def low_pass_prior_loss(
    log_residual: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch_or_1 1 height width"],
    cell: int = LOW_PASS_CELL,
    width: float = LOW_PASS_WIDTH,
) -> Float[Tensor, "batch"]:
    """Size of the smooth, symmetric part of log(albedo / prior): tone stays the prior's, detail is free."""
    smooth = cell_means(log_residual, mask, cell)
    symmetric = (smooth + mirror_uv(smooth)) / 2
    inside = cells_inside(mask, cell).expand(symmetric.shape[0], -1, -1, -1)
    return masked_mean(charbonnier(symmetric, width), inside)


def symmetry_loss(
    albedo_srgb: Float[Tensor, "batch 3 height width"], mask: Float[Tensor, "batch_or_1 1 height width"]
) -> Float[Tensor, "batch"]:
    """L1 distance from the own mirror image, which carries no gradient; the axis is exact (`mirror_uv`)."""
    distance = (albedo_srgb - mirror_uv(albedo_srgb).detach()).abs().mean(1, keepdim=True)
    return masked_mean(distance, mask)


def low_pass_symmetry_loss(
    log_residual: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch_or_1 1 height width"],
    cell: int = SYMMETRY_CELL,
) -> Float[Tensor, "batch"]:
    """`symmetry_loss` of means over cells: side light is smooth and lopsided, moles and brows are neither."""
    smooth = cell_means(log_residual, mask, cell)
    distance = (smooth - mirror_uv(smooth).detach()).abs().mean(1, keepdim=True)
    return masked_mean(distance, cells_inside(mask, cell).expand(distance.shape[0], -1, -1, -1))


def chroma_smoothness_loss(
    albedo_srgb: Float[Tensor, "batch 3 height width"],
    texture_srgb: Float[Tensor, "batch 3 height width"],
    visibility: Float[Tensor, "batch 1 height width"],
    sharpness: float = 80.0,
) -> Float[Tensor, "batch"]:
    """Forward differences of the albedo where the photo's chromaticity is even: there, an edge is light, not pigment.

    The weights ``exp(-sharpness * |chromaticity difference|)`` carry no gradient; only seen texels count.
    """
    # A little grey is added, so that near black the quotient is not noise; a grey edge stays exactly even.
    chromaticity = ((texture_srgb + 0.05 / 3) / (texture_srgb.sum(1, keepdim=True) + 0.05)).detach()
    total = albedo_srgb.new_zeros(albedo_srgb.shape[0])
    for axis in (0, 1):
        edge = differences(chromaticity, axis).abs().sum(1, keepdim=True)
        weight = torch.exp(-sharpness * edge) * both_ends(visibility, axis)
        total = total + masked_mean(differences(albedo_srgb, axis).abs().mean(1, keepdim=True), weight)
    return total


def log_albedo_loss(
    log_albedo: Float[Tensor, "batch 3 height width"],
    log_truth: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
    width: float = 0.05,
) -> Float[Tensor, "batch"]:
    """Distance of log albedo from the truth (`charbonnier`)."""
    return masked_mean(charbonnier(log_albedo - log_truth, width), mask)


def chroma_loss(
    log_albedo: Float[Tensor, "batch 3 height width"],
    log_truth: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch"]:
    """L1 distance of the log ratios between the channels: hue and saturation without brightness."""
    difference = log_albedo - log_truth
    return masked_mean((difference - difference.mean(1, keepdim=True)).abs().mean(1, keepdim=True), mask)


def detail_loss(
    log_albedo: Float[Tensor, "batch 3 height width"],
    log_truth: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch"]:
    """L1 distance of forward differences of log albedo, at full, half and quarter resolution."""
    difference, inside = log_albedo - log_truth, mask
    total = log_albedo.new_zeros(log_albedo.shape[0])
    for level in range(3):
        if level:
            difference = torch.nn.functional.avg_pool2d(difference, 2)
            inside = -torch.nn.functional.max_pool2d(-inside, 2)
        for axis in (0, 1):
            steps = differences(difference, axis).abs().mean(1, keepdim=True)
            total = total + masked_mean(steps, both_ends(inside, axis))
    return total


def confidence_nll(
    log_albedo: Float[Tensor, "batch 3 height width"],
    log_truth: Float[Tensor, "batch 3 height width"],
    log_variance: Float[Tensor, "batch 1 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch"]:
    """Gaussian negative log likelihood (without its constant) of the log error, which carries no gradient itself.

    It trains the stated variance alone; the albedo has its own terms.
    """
    squared = (log_albedo - log_truth).detach().square().mean(1, keepdim=True)
    return masked_mean(0.5 * (squared * torch.exp(-log_variance) + log_variance), mask)
