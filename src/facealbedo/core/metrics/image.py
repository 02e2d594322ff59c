"""How far two images are apart on the visible skin: L1, PSNR, SSIM (on sRGB values in [0, 1])."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.metrics.masks import check_same_size, gaussian_blur, masked_mean

Image = Float[Tensor, "batch channel height width"]
Mask = Float[Tensor, "batch_or_1 1 height width"]

# Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004.
SSIM_SIGMA, SSIM_SIZE = 1.5, 11
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def masked_l1(image: Image, reference: Image, mask: Mask) -> Float[Tensor, "batch"]:
    """Mean absolute difference over mask and channels."""
    check_same_size(image, reference, "L1")
    return masked_mean((image - reference).abs(), mask).mean(1)


def masked_psnr(image: Image, reference: Image, mask: Mask) -> Float[Tensor, "batch"]:
    """Peak signal-to-noise ratio for a peak of 1, decibels; at most 100."""
    check_same_size(image, reference, "PSNR")
    error = masked_mean((image - reference).square(), mask).mean(1)
    return -10 * error.clamp(min=1e-10).log10()


def ssim_map(image: Image, reference: Image) -> Image:
    """Structural similarity at each pixel, a channel each."""
    check_same_size(image, reference, "SSIM")

    def blur(values: Tensor) -> Tensor:
        return gaussian_blur(values, SSIM_SIZE, SSIM_SIGMA)

    mean, other = blur(image), blur(reference)
    variance, other_variance = blur(image * image) - mean**2, blur(reference * reference) - other**2
    covariance = blur(image * reference) - mean * other
    numerator = (2 * mean * other + SSIM_C1) * (2 * covariance + SSIM_C2)
    return numerator / ((mean**2 + other**2 + SSIM_C1) * (variance + other_variance + SSIM_C2))


def masked_ssim(image: Image, reference: Image, mask: Mask) -> Float[Tensor, "batch"]:
    """Mean structural similarity over the mask.

    Outside the mask the image is replaced by the reference, so that what surrounds the skin counts neither way.
    """
    check_same_size(image, reference, "SSIM")
    composed = torch.lerp(reference, image, mask)
    return masked_mean(ssim_map(composed, reference), mask).mean(1)
