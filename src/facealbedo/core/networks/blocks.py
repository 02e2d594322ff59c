"""The few layers from which the networks are made."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

LEAKY_SLOPE = 0.2


def conv(n_in: int, n_out: int, kernel: int = 3, stride: int = 1, bias: bool = False) -> nn.Sequential:
    """Convolution, batch norm, leaky ReLU; "same" padding for kernel 3, halving for kernel 4 with stride 2."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, 1, bias=bias),
        nn.BatchNorm2d(n_out),
        nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
    )


class Upsample(nn.Module):
    """Double height and width, bilinear between texel centres, the border repeated (commutes with the mirror).

    The same as `torch.nn.Upsample`, from slices and sums: their gradient needs no atomic additions, which compiled
    code otherwise spends half of the network's backward pass on.
    """

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Tensor:
        """Return the map at twice the size."""
        return _doubled(_doubled(x, 2), 3)


def _doubled(x: Tensor, axis: int) -> Tensor:
    size = x.shape[axis]
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, size - 1)], dim=axis)
    after = torch.cat([x.narrow(axis, 1, size - 1), x.narrow(axis, size - 1, 1)], dim=axis)
    both = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], dim=axis + 1)
    return both.flatten(axis, axis + 1)


def upsample() -> Upsample:
    """Return the layer that doubles height and width."""
    return Upsample()


class Residual(nn.Module):
    """Input plus two convolutions of it."""

    def __init__(self, channels: int, bias: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels, bias=bias),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=bias),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
        """Add the branch to the input."""
        return x + self.body(x)


def start_at(head: nn.Conv2d, *bias: float) -> nn.Conv2d:
    """Make a last layer answer with constants at first: weights 0, the given biases (repeated to its channels)."""
    nn.init.zeros_(head.weight)
    if head.bias is None:
        raise ValueError("the last layer needs a bias to start at a constant")
    values = head.bias.new_tensor(bias).repeat(head.bias.numel() // len(bias))
    head.bias.data.copy_(values)
    return head
