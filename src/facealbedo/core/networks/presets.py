"""Named networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from facealbedo.core.networks.refiner import PaperRefiner, Refiner, ResidualRefiner


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's shape.

    Attributes:
        architecture: ``paper``: albedo and light predicted directly, no skip connections; ``residual``: U-Net that
            corrects prior, quotient and fitted light.
        channels: of the levels, finest first (``paper`` takes the first and scales the rest like the original).
        residual_blocks: at the deepest level (``paper`` always has six).
        light_factor: texels of the input a side of a texel of the light map (``paper`` always 1).
        max_log_ratio: largest believable |log(texture / (shading x prior))|; more is softly limited.
        max_log_change: largest log change that the network itself can make to the albedo.
        noise_seed: of the noise that stands for unseen texels at inference (``paper`` only).
        unseen: what stands for unseen texels (``paper`` only; ``residual`` always sees zeros and the trust).
        light_map: correct the fitted light texel by texel (``residual`` only; ``paper`` has no other light).
        shading_gain: let a full-resolution gain take up what neither light nor pigment explains (``residual`` only).
        baked_light: take out of the albedo what goes with the fitted light, see `networks.baked_light` (``residual``
            only, and not in training mode).
    """

    architecture: Literal["paper", "residual"] = "residual"
    channels: tuple[int, ...] = (32, 64, 128, 256, 320)
    residual_blocks: int = 2
    light_factor: int = 8
    max_log_ratio: float = 2.0
    max_log_change: float = 3.0
    noise_seed: int = 0
    unseen: Literal["noise", "zeros"] = "noise"
    light_map: bool = True
    shading_gain: bool = True
    baked_light: bool = True


PRESETS: dict[str, NetworkConfig] = {
    "paper": NetworkConfig(architecture="paper", channels=(64,), light_factor=1),
    "default": NetworkConfig(),
    # The same two in small: for tests and for a look at the whole way on a laptop.
    "paper_tiny": NetworkConfig(architecture="paper", channels=(8,), light_factor=1),
    "tiny": NetworkConfig(channels=(8, 16, 16), residual_blocks=1, light_factor=4),
}


def build_refiner(config: NetworkConfig) -> Refiner:
    """Make a network with fresh weights (from torch's generator), on the CPU in float32.

    Raises:
        ValueError: unknown architecture, or sizes that do not fit together.
    """
    if config.architecture == "paper":
        if not config.light_map:
            raise ValueError("the paper's network has no other light than its map; light_map must be on")
        return PaperRefiner(config.channels[0], config.noise_seed, config.unseen)
    if config.architecture == "residual":
        return ResidualRefiner(
            config.channels, config.residual_blocks, config.light_factor, config.max_log_ratio, config.max_log_change,
            config.light_map, config.shading_gain, config.baked_light,
        )  # fmt: skip
    raise ValueError(f"unknown architecture {config.architecture!r}; choose paper or residual")
