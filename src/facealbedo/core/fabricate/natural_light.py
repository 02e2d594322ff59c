"""Natural light around a face: environment maps turned at random, mixed, and joined by lamps.

The light lives in the *view* frame, as fits find it. Directions: the camera looks along -z, so what stands behind the
face comes from -z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facealbedo.core.geometry.rotations import axis_angle_to_matrix
from facealbedo.core.lighting.envmap import EnvironmentMap, sample_environment
from facealbedo.core.lighting.sh import rotate_sh, sh_basis
from facealbedo.core.types import TensorRecord

SH_ORDER = 4
_COEFFICIENTS = (SH_ORDER + 1) ** 2


@dataclass(frozen=True)
class NaturalLightConfig:
    """How lights are drawn.

    Attributes:
        mix_chance: share of lights that add a second environment (a window and a room).
        lamp_chance: share of lights that add a soft lamp (flash, key light, a sun that the small map blurs).
        lamp_strength: mean luminance that a lamp adds, over that of the environment; log-normal with this median.
        tilt_degrees: standard deviation of the camera's pitch and roll against the world.
        tint_log_sd: standard deviation of the log tint of a whole light (coloured walls, neon), a colour.
    """

    mix_chance: float = 0.3
    lamp_chance: float = 0.5
    lamp_strength: float = 0.35
    tilt_degrees: float = 8.0
    tint_log_sd: float = 0.10


@dataclass(frozen=True)
class NaturalLight(TensorRecord):
    """A batch of lights.

    * ``sh_radiance``: order-4 SH radiance, view frame, mean luminance about 1.
    * ``environment``: which environment each is made of first.
    * ``rotation``: from the environment's world to the view frame.
    * ``background``: mean radiance of what stands behind the face (a cone of 40 degrees about -z).
    * ``tint``: factor on the environment's colours.
    """

    sh_radiance: Float[Tensor, "batch 3 25"]
    environment: Int[Tensor, "batch"]
    rotation: Float[Tensor, "batch 3 3"]
    background: Float[Tensor, "batch 3"]
    tint: Float[Tensor, "batch 3"]


def sample_natural_light(
    environments: EnvironmentMap,
    environments_sh: Float[Tensor, "environment 3 25"],
    count: int,
    generator: torch.Generator,
    config: NaturalLightConfig | None = None,
) -> NaturalLight:
    """Draw lights from a set of environment maps.

    Args:
        environments: maps of mean luminance 1.
        environments_sh: their SH of order 4.
        count: how many lights.
        generator: on the CPU; decides everything.
        config: chances and sizes.
    """
    settings = config or NaturalLightConfig()
    first, second = (torch.randint(len(environments_sh), (count,), generator=generator) for _ in range(2))
    rotation, other_rotation = (_random_rotation(count, generator, settings) for _ in range(2))
    share = torch.where(
        torch.rand(count, generator=generator) < settings.mix_chance, torch.rand(count, generator=generator) * 0.6, 0.0
    )
    main = rotate_sh(environments_sh[first], rotation[:, None])
    added = rotate_sh(environments_sh[second], other_rotation[:, None])
    tint = (torch.randn(count, 3, generator=generator) * settings.tint_log_sd).exp()
    mixed = torch.lerp(main, added, share[:, None, None]) * tint[:, :, None]
    lamp = _lamps(count, generator, settings)
    background = _background(environments, first, rotation) * tint
    return NaturalLight(mixed + lamp, first, rotation, background, tint)


def _random_rotation(count: int, generator: torch.Generator, settings: NaturalLightConfig) -> Tensor:
    """World to view: any turn about the vertical, little tilt (people and cameras stand upright)."""
    turn = torch.zeros(count, 3)
    turn[:, 1] = torch.rand(count, generator=generator) * 2 * math.pi
    tilt = torch.randn(count, 3, generator=generator) * math.radians(settings.tilt_degrees)
    tilt[:, 1] = 0
    return axis_angle_to_matrix(tilt) @ axis_angle_to_matrix(turn)


def _lamps(count: int, generator: torch.Generator, settings: NaturalLightConfig) -> Tensor:
    """SH of one soft lamp a light, somewhere in front or beside; zero for those that have none."""
    azimuth = torch.randn(count, generator=generator) * 1.0
    elevation = torch.randn(count, generator=generator) * 0.5 + 0.45
    direction = torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], dim=-1)
    softness = torch.rand(count, 1, generator=generator) * 0.12 + 0.02
    bands = torch.tensor([band for band in range(SH_ORDER + 1) for _ in range(2 * band + 1)], dtype=torch.float32)
    lobe = sh_basis(direction, SH_ORDER) * torch.exp(-softness * bands * (bands + 1))
    strength = settings.lamp_strength * (torch.randn(count, generator=generator) * 0.8).exp() * 4 * math.pi
    present = torch.rand(count, generator=generator) < settings.lamp_chance
    warmth = torch.randn(count, generator=generator) * 0.12
    colour = torch.stack([warmth, torch.zeros(count), -1.3 * warmth], dim=-1).exp()
    return lobe[:, None] * colour[:, :, None] * (strength * present)[:, None, None]


def _background(environments: EnvironmentMap, chosen: Tensor, rotation: Tensor) -> Tensor:
    """Mean radiance of a cone behind the face."""
    spiral = torch.arange(64) + 0.5
    height = 1 - spiral / 64 * (1 - math.cos(math.radians(40)))
    radius = (1 - height**2).sqrt()
    angle = spiral * math.pi * (1 + 5**0.5)
    view = torch.stack([radius * angle.cos(), radius * angle.sin(), -height], dim=-1)
    world = view[None] @ rotation  # a row vector times R is Rᵀ v
    maps = EnvironmentMap(environments.radiance[chosen])
    return sample_environment(maps, world).mean(-1)
