"""A blur of its own for each picture of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def blur_each(
    values: Float[Tensor, "batch channel height width"], sigma: Float[Tensor, "batch"], radius: int
) -> Float[Tensor, "batch channel height width"]:
    """Filter each entry with a Gaussian of its own, cut off at ``radius`` pixels, the border repeated.

    One grouped convolution an axis, whatever the batch: on a device that is one launch.
    """
    offsets = torch.arange(-radius, radius + 1, device=values.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(values.shape[1], 0)
    stack = values.reshape(1, -1, *values.shape[2:])
    across = F.conv2d(
        F.pad(stack, (radius, radius, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=len(kernel)
    )
    both = F.conv2d(
        F.pad(across, (0, 0, radius, radius), mode="replicate"), kernel[:, None, :, None], groups=len(kernel)
    )
    return both.reshape(values.shape)
