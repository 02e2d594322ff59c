"""The network of the authors, as seen in their code drop (facts only, nothing copied); see ``docs/method.md``."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.networks.blocks import Residual, conv, start_at, upsample

N_INPUT = 6
N_LIGHT = 27
ENCODER = (64, 64, 128, 256, 512)
RESIDUAL_BLOCKS = 6
# DC light whose shading is about 0.8, in units of pi (see `Refiner`); without it training starts from a black render.
STARTING_DC = 0.9


class PaperNet(nn.Module):
    """One shared encoder, two decoders, no skip connections; 35.58 M parameters."""

    def __init__(self, width: int = ENCODER[0]) -> None:
        super().__init__()
        scale = width / ENCODER[0]
        down = [max(4, round(channels * scale)) for channels in ENCODER]
        up = down[::-1]
        self.encoder = nn.Sequential(
            conv(N_INPUT, down[0], bias=True),
            *(conv(a, b, kernel=4, stride=2, bias=True) for a, b in zip(down[:-1], down[1:], strict=True)),
            *(Residual(down[-1], bias=True) for _ in range(RESIDUAL_BLOCKS)),
        )
        # Up the way the encoder came: 512 -> 256 -> 128 -> 64 -> 64.
        steps = list(zip(up[:-1], up[1:], strict=True))
        self.albedo_decoder = nn.Sequential(
            *(_transposed(a, b) for a, b in steps),
            nn.Conv2d(up[-1], 3, 3, 1, 1),
            nn.Tanh(),
        )
        self.light_decoder = nn.Sequential(
            *(nn.Sequential(upsample(), conv(a, b, bias=True)) for a, b in steps),
            start_at(nn.Conv2d(up[-1], N_LIGHT, 3, 1, 1), STARTING_DC, *[0.0] * 8),
        )

    def forward(
        self, x: Float[Tensor, "batch 6 height width"]
    ) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 27 height width"]]:
        """Return albedo in [-1, 1] and light."""
        code = self.encoder(x)
        return self.albedo_decoder(code), self.light_decoder(code)


def _transposed(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(n_in, n_out, 4, 2, 1),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )
