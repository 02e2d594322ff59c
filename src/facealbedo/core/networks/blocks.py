"""The few layers from which the networks are made."""

from __future__ import annotations

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


def upsample() -> nn.Upsample:
    """Double height and width, bilinear between texel centres (commutes with the mirror)."""
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


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
