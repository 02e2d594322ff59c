"""Image distances against scikit-image and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from facealbedo.core.metrics.image import masked_l1, masked_psnr, masked_ssim, ssim_map
from facealbedo.core.metrics.masks import EvaluationError


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(2, 3, 40, 56, generator=generator)
    return image, (image + 0.1 * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def test_psnr_over_everything_is_that_of_scikit_image() -> None:
    image, other = pictures()
    expected = [
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1.0) for a, b in zip(image, other, strict=True)
    ]
    np.testing.assert_allclose(masked_psnr(image, other, torch.ones(2, 1, 40, 56)), expected, rtol=1e-5)


def test_ssim_is_that_of_scikit_image() -> None:
    image, other = pictures()
    ours = ssim_map(image, other)[0].numpy()
    _, theirs = structural_similarity(
        image[0].numpy(), other[0].numpy(), channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True, win_size=11,
    )  # fmt: skip
    # Only the treatment of the border differs.
    np.testing.assert_allclose(ours[:, 5:-5, 5:-5], theirs[:, 5:-5, 5:-5], atol=2e-4)


def test_ssim_is_that_of_torchmetrics() -> None:
    image, other = pictures()
    _, theirs = structural_similarity_index_measure(image, other, data_range=1.0, return_full_image=True)
    torch.testing.assert_close(ssim_map(image, other), theirs, atol=1e-4, rtol=0)


def test_only_the_mask_counts() -> None:
    image, other = pictures()
    mask = torch.zeros(2, 1, 40, 56)
    mask[..., 10:30, 10:30] = 1
    changed = torch.where(mask > 0, other, 0.0)
    for measure in (masked_l1, masked_psnr, masked_ssim):
        torch.testing.assert_close(measure(changed, image, mask), measure(other, image, mask))
    cut = (slice(None), slice(None), slice(10, 30), slice(10, 30))
    expected = (image[cut] - other[cut]).abs().mean((1, 2, 3))
    torch.testing.assert_close(masked_l1(other, image, mask), expected)


def test_an_empty_mask_is_named() -> None:
    image, other = pictures()
    with pytest.raises(EvaluationError, match="empty mask"):
        masked_l1(image, other, torch.zeros(2, 1, 40, 56))
