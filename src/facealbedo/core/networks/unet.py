"""The default network: a U-Net whose answers are small corrections of what is already known."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.networks.blocks import Residual, conv, start_at, upsample

N_LIGHT = 27
# Log-albedo residual (3), gates of pigment and of other detail (2), log variance (1), log gain of the shading (3).
N_HEAD = 9
# The gates start at sigmoid(3) = 0.95 and sigmoid(-3) = 0.05, the error at exp(-3 / 2) = 0.22 in log units.
STARTING_GATES, STARTING_LOG_VARIANCE = (3.0, -3.0), -3.0


class RefinementUNet(nn.Module):
    """Encoder and decoder with skip connections; the light is read from the deepest level.

    Args:
        n_input: input channels.
        channels: of the levels, finest first; each level halves height and width.
        residual_blocks: at the deepest level.
        light_factor: the light map is the input's size divided by this; a power of two, at most the deepest level's.
        light_map: have the layers that correct the light; without them the correction is 0.
    """

    def __init__(
        self, n_input: int, channels: tuple[int, ...], residual_blocks: int, light_factor: int, light_map: bool = True
    ) -> None:
        super().__init__()
        depth = len(channels) - 1
        lifts = depth - int(math.log2(light_factor))
        if 2 ** int(math.log2(light_factor)) != light_factor or not 0 <= lifts <= depth:
            raise ValueError(f"the light factor must be a power of two up to {2**depth}, got {light_factor}")
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.stem = nn.Sequential(conv(n_input, channels[0]), conv(channels[0], channels[0]))
        self.down = nn.ModuleList([nn.Sequential(conv(a, b, kernel=4, stride=2), conv(b, b)) for a, b in pairs])
        self.middle = nn.Sequential(*(Residual(channels[-1]) for _ in range(residual_blocks)))
        self.up = nn.ModuleList([nn.Sequential(conv(b + a, a), conv(a, a)) for a, b in reversed(pairs)])
        self.lift = upsample()
        self.head = nn.Conv2d(channels[0], N_HEAD, 3, 1, 1)
        start_at(self.head, 0.0, 0.0, 0.0, *STARTING_GATES, STARTING_LOG_VARIANCE, 0.0, 0.0, 0.0)
        self.light_factor = light_factor
        self.light_head = _light_head(channels[-1], lifts) if light_map else None

    def forward(
        self, x: Float[Tensor, "batch channel height width"]
    ) -> tuple[Float[Tensor, "batch 9 height width"], Float[Tensor, "batch 27 coarse_height coarse_width"]]:
        """Return the raw head and the light's correction.

        Raises:
            ValueError: height or width is not divisible by 2 to the number of halvings.
        """
        multiple = 2 ** len(self.down)
        if x.shape[-1] % multiple or x.shape[-2] % multiple:
            raise ValueError(f"height and width must be multiples of {multiple}, got {tuple(x.shape)}")
        skips = [self.stem(x)]
        for level in self.down:
            skips.append(level(skips[-1]))
        code = self.middle(skips.pop())
        features = code
        for level in self.up:
            features = level(torch.cat([self.lift(features), skips.pop()], dim=1))
        if self.light_head is None:
            rows, columns = (side // self.light_factor for side in x.shape[-2:])
            return self.head(features), code.new_zeros(len(x), N_LIGHT, rows, columns)
        return self.head(features), self.light_head(code)


def _light_head(width: int, lifts: int) -> nn.Sequential:
    """Layers from the deepest level to the light's correction, at twice the size for each of ``lifts``."""
    layers: list[nn.Module] = []
    for _ in range(lifts):
        layers += [upsample(), conv(width, width // 2)]
        width //= 2
    return nn.Sequential(*layers, conv(width, 96), start_at(nn.Conv2d(96, N_LIGHT, 3, 1, 1), 0.0))
