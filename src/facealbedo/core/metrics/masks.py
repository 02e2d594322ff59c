"""Arithmetic over masks that all measures share, and the checks that stop silent averages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.errors import FaceAlbedoError


class EvaluationError(FaceAlbedoError):
    """A benchmark's data cannot be measured as it is: the message names what is missing or does not fit."""


def check_same_size(first: Tensor, second: Tensor, what: str) -> None:
    """Raise unless two maps or images have the same shape.

    Raises:
        EvaluationError: naming both shapes.
    """
    if first.shape != second.shape:
        raise EvaluationError(
            f"{what}: sizes differ, {list(first.shape)} and {list(second.shape)}; bring both to one size first"
        )


def masked_mean(
    values: Float[Tensor, "batch channel height width"], mask: Float[Tensor, "batch_or_1 1 height width"]
) -> Float[Tensor, "batch channel"]:
    """Weighted mean of each channel over a mask.

    Raises:
        EvaluationError: an empty mask; a mean of nothing would be an invented number.
    """
    weight = mask.expand(len(values), -1, -1, -1).sum((2, 3))
    if bool((weight <= 0).any()):
        raise EvaluationError("a face has an empty mask: nothing of the region to measure is visible")
    return (values * mask).sum((2, 3)) / weight


def box_blur_twice(values: Float[Tensor, "batch channel height width"], size: int) -> Tensor:
    """Two box filters of odd ``size``, borders repeated: close to a Gaussian of variance (size² - 1) / 6."""
    blurred = F.pad(values, (size - 1,) * 4, mode="replicate")
    for window in ((size, 1), (1, size)) * 2:
        blurred = F.avg_pool2d(blurred, window, 1)
    return blurred


def gaussian_blur(values: Float[Tensor, "batch channel height width"], size: int, sigma: float) -> Tensor:
    """Gaussian filter cut off at odd ``size``, borders mirrored without repeating the edge."""
    taps = torch.exp(-0.5 * ((torch.arange(size).to(values) - size // 2) / sigma) ** 2)
    kernel = (taps / taps.sum()).expand(values.shape[1], 1, 1, -1)
    padded = F.pad(values, (size // 2,) * 4, mode="reflect")
    rows = F.conv2d(padded, kernel, groups=values.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=values.shape[1])
