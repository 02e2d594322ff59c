"""Light that stayed in an albedo map, and detail that did not.

Definitions of the study behind the method notes: all on luminance, window sizes for maps of 256 texels a side and
scaled with the map. BS error: Bai et al., "FFHQ-UV: Normalized facial UV-texture dataset", CVPR 2023.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb, luminance
from facealbedo.core.metrics.masks import box_blur_twice, check_same_size, gaussian_blur, masked_mean

AlbedoMap = Float[Tensor, "batch 3 height width"]
Scalar = Float[Tensor, "batch 1 height width"]
Mask = Float[Tensor, "batch 1 height width"]

_DARKEST = 2e-3
_SYMMETRY_WINDOW, _DETAIL_WINDOW = 7 / 256, 9 / 256
# FFHQ-UV: Gaussian kernel of 55 texels at 1024; OpenCV's rule gives its sigma.
_BS_KERNEL, _BS_SIGMA = 55 / 1024, 8.6 / 1024


def log_luminance(linear: AlbedoMap) -> Scalar:
    """Natural logarithm of luminance, limited at the dark end."""
    return luminance(linear.movedim(1, -1))[:, None].clamp(min=_DARKEST).log()


def light_correlation(albedo: AlbedoMap, shading: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """Correlation of log albedo with log shading over the mask, in [-1, 1]: 0 is clean, 1 is baked light."""
    check_same_size(albedo, shading, "albedo and shading")
    return correlation(log_luminance(albedo), log_luminance(shading), mask)


def left_right_error(albedo: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """Mean |difference| of the blurred luma and its mirror image where both sides lie in the mask, 0-255."""
    luma = 255 * luminance(linear_to_srgb(albedo.clamp(0, 1)).movedim(1, -1))[:, None]
    both = mask * mask.flip(-1)
    size = _odd(_SYMMETRY_WINDOW * albedo.shape[-1])
    blurred = box_blur_twice(luma * both, size) / box_blur_twice(both, size).clamp(min=0.05)
    return masked_mean((blurred - blurred.flip(-1)).abs(), both)[:, 0]


def brightness_symmetry_error(albedo: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """BS error of FFHQ-UV: mean |difference| of the widely blurred luma and its mirror image over the face, 0-255.

    Unlike `left_right_error` it takes completed texels too.
    """
    luma = 255 * luminance(linear_to_srgb(albedo.clamp(0, 1)).movedim(1, -1))[:, None]
    size, sigma = _odd(_BS_KERNEL * albedo.shape[-1]), _BS_SIGMA * albedo.shape[-1]
    weight = gaussian_blur(mask, size, sigma).clamp(min=1e-3)
    blurred = gaussian_blur(luma * mask, size, sigma) / weight
    return masked_mean((blurred - blurred.flip(-1)).abs(), mask * mask.flip(-1))[:, 0]


def detail_kept(albedo: AlbedoMap, texture: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """Slope of the albedo's fine detail on the photo's over the mask: 1 keeps all of it, 0 nothing.

    Detail is log luminance less its low pass; log removes the light as long as that is smooth.
    """
    check_same_size(albedo, texture, "albedo and texture")
    photo, kept = fine_detail(texture), fine_detail(albedo)
    return (photo * kept * mask).sum((1, 2, 3)) / (photo * photo * mask).sum((1, 2, 3)).clamp(min=1e-8)


def detail_correlation(albedo: AlbedoMap, texture: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """Correlation of the albedo's fine detail with the photo's over the mask."""
    check_same_size(albedo, texture, "albedo and texture")
    return correlation(fine_detail(albedo), fine_detail(texture), mask)


def change_kept(albedo: AlbedoMap, before: AlbedoMap, after: AlbedoMap, mask: Mask) -> Float[Tensor, "batch"]:
    """How far an albedo has gone from one known map to another: 0 is ``before``, 1 ``after``, in log colour.

    Slope of (albedo / before) on (after / before), logs of all channels, each less its mean over the mask: neither
    scale nor tint counts. With ``before`` a face without its marks and ``after`` with them it says how much of the
    marks was kept, patches without sharp borders included.
    """
    check_same_size(albedo, before, "albedo and the map before")
    check_same_size(after, before, "the maps before and after")
    start, end, found = (values.clamp(min=_DARKEST).log() for values in (before, after, albedo))
    wanted, got = end - start, found - start
    wanted, got = (values - masked_mean(values, mask)[..., None, None] for values in (wanted, got))
    return (wanted * got * mask).sum((1, 2, 3)) / (wanted * wanted * mask).sum((1, 2, 3)).clamp(min=1e-8)


def fine_detail(linear: AlbedoMap) -> Scalar:
    """Log luminance less its low pass."""
    values = log_luminance(linear)
    return values - box_blur_twice(values, _odd(_DETAIL_WINDOW * linear.shape[-1]))


def correlation(first: Scalar, second: Scalar, mask: Mask) -> Float[Tensor, "batch"]:
    """Weighted Pearson correlation; 0 where one of the two is constant."""
    first = first - masked_mean(first, mask)[..., None, None]
    second = second - masked_mean(second, mask)[..., None, None]
    product = (first * second * mask).sum((1, 2, 3))
    powers = (first.square() * mask).sum((1, 2, 3)) * (second.square() * mask).sum((1, 2, 3))
    return torch.where(powers > 1e-12, product / powers.clamp(min=1e-12).sqrt(), 0.0)


def _odd(size: float) -> int:
    return max(3, 2 * round((size - 1) / 2) + 1)
