"""The lights of `relit.png`: key lights and skies, and environment maps made ready to stand in for them.

Exposure does not look at the face: the same lights for everybody, so that dark skin stays dark and two faces can be
compared. Directions are in the view frame: x right, y up, z to the viewer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.export.face_scene import SKIN_ROUGHNESS
from facealbedo.core.lighting.envmap import (
    EnvironmentMap,
    irradiance_by_summing,
    prefilter_ggx,
    sample_environment,
    solid_angles,
    texel_directions,
)

# Mean shading that an environment is exposed to, and the half angle of what counts as its sun.
METERED_SHADING = 0.6
SUN_DEGREES = 9.0


@dataclass(frozen=True)
class KeyLight:
    """A round light far away: ``direction`` points to it (x right, y up, z to the viewer), ``colour`` is linear RGB of
    the shading that it alone gives a surface turned to it, ``width`` half the angle that it fills, degrees.
    """

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    width: float

    def samples(self, count: int) -> Float[Tensor, "count 3"]:
        """Return unit vectors spread evenly over the light's round face."""
        axis = torch.nn.functional.normalize(torch.tensor(self.direction), dim=0)
        helper = torch.tensor([0.0, 1.0, 0.0] if abs(float(axis[1])) < 0.9 else [1.0, 0.0, 0.0])
        right = torch.nn.functional.normalize(torch.linalg.cross(helper, axis), dim=0)
        up = torch.linalg.cross(axis, right)
        index = torch.arange(count, dtype=axis.dtype)
        radius = math.tan(math.radians(self.width)) * ((index + 0.5) / count).sqrt()
        turn = index * (math.pi * (3 - math.sqrt(5)))
        offsets = (radius * turn.cos())[:, None] * right + (radius * turn.sin())[:, None] * up
        return torch.nn.functional.normalize(axis + offsets, dim=1)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """An environment map prepared for previews: its sun is taken out of it and made a key light.

    * ``energy``: RGB radiance times solid angle of each texel without the sun; ``directions``: of the texels.
    * ``blurred``: what skin mirrors; ``sharp``: what eyes mirror (maps without the sun).
    """

    name: str
    energy: Float[Tensor, "texel 3"]
    directions: Float[Tensor, "texel 3"]
    blurred: EnvironmentMap
    sharp: EnvironmentMap
    sun: KeyLight


@dataclass(frozen=True)
class PreviewLight:
    """One picture of the strip: keys, a sky (colours from above, from the sides, from below), and the head's turn.

    ``surroundings`` stand in for the sky where they are given; ``of_photo`` takes the light that was fitted.
    """

    name: str
    keys: tuple[KeyLight, ...] = ()
    sky: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 0.0),) * 3
    yaw_degrees: float = 0.0
    of_photo: bool = False
    surroundings: Surroundings | None = None

    def sky_radiance(self, directions: Float[Tensor, "direction 3"]) -> Float[Tensor, "direction 3"]:
        """Return the sky's radiance from given directions: a gradient over height."""
        up, side, down = (directions.new_tensor(colour) for colour in self.sky)
        height = directions[:, 1:2]
        towards = torch.where(height > 0, up, down)
        return side + (towards - side) * height.abs() ** 0.7

    def mirrored_radiance(
        self, directions: Float[Tensor, "direction 3"], smooth: Bool[Tensor, "direction 1"]
    ) -> Float[Tensor, "direction 3"]:
        """Return what surfaces mirror from given directions: sharp where ``smooth``, else blurred; without the keys."""
        if self.surroundings is None:
            return self.sky_radiance(directions)
        blurred = sample_environment(self.surroundings.blurred, directions[None])[0].T
        sharp = sample_environment(self.surroundings.sharp, directions[None])[0].T
        return torch.where(smooth, sharp, blurred)


def prepare_surroundings(name: str, environment: EnvironmentMap) -> Surroundings:
    """Make an environment map ready for `draw_relit`; +z of the map is where the camera stands.

    The exposure is that of a photographer who meters the light, not the face: the mean shading of surfaces turned
    within 60 degrees of the camera comes to `METERED_SHADING`.
    """
    height = environment.radiance.shape[2]
    directions = texel_directions(height, environment.radiance).reshape(-1, 3)
    angles = solid_angles(height, environment.radiance).repeat_interleave(2 * height)
    facing = directions[directions[:, 2] > 0.5][None]
    metered = luminance(irradiance_by_summing(environment, facing)).mean() / math.pi
    energy = environment.radiance[0].flatten(1).T * angles[:, None] * (METERED_SHADING / metered)
    peak = directions[luminance(energy / angles[:, None]).argmax()]
    near = directions @ peak > math.cos(math.radians(SUN_DEGREES))
    # What the sun's surroundings would send without it: the median there stays in the map.
    kept = (energy / angles[:, None])[near].median(dim=0).values * angles[near][:, None]
    taken = (energy[near] - kept).clamp(min=0)
    rest = energy.clone()
    rest[near] = energy[near] - taken
    sun = taken.sum(dim=0)
    towards = torch.nn.functional.normalize((directions[near] * luminance(taken)[:, None]).sum(dim=0), dim=0)
    sharp = EnvironmentMap((rest / angles[:, None]).T.unflatten(1, (height, 2 * height))[None])
    return Surroundings(
        name=name,
        energy=rest,
        directions=directions,
        blurred=prefilter_ggx(sharp, SKIN_ROUGHNESS, height=16),
        sharp=sharp,
        sun=KeyLight(_triple(towards), _triple(sun / math.pi), SUN_DEGREES / 2),
    )


def _triple(values: Float[Tensor, "3"]) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


def _grey(value: float) -> tuple[tuple[float, float, float], ...]:
    return ((value, value, value),) * 3


PREVIEW_LIGHTS: tuple[PreviewLight, ...] = (
    PreviewLight("light of the photo", of_photo=True),
    PreviewLight(
        "soft front",
        (KeyLight((0.12, 0.35, 1.0), (0.8, 0.8, 0.8), 30.0),),
        _grey(0.22),
    ),
    PreviewLight("left", (KeyLight((-1.0, 0.25, 0.45), (1.1, 1.1, 1.1), 14.0),), _grey(0.07)),
    PreviewLight("right", (KeyLight((1.0, 0.25, 0.45), (1.1, 1.1, 1.1), 14.0),), _grey(0.07)),
    PreviewLight("top", (KeyLight((0.0, 1.0, 0.42), (1.15, 1.15, 1.15), 14.0),), _grey(0.09)),
    PreviewLight(
        "warm and cool",
        (
            KeyLight((-1.0, 0.15, 0.25), (1.15, 0.62, 0.28), 16.0),
            KeyLight((1.0, 0.2, 0.3), (0.25, 0.5, 1.05), 16.0),
        ),
        _grey(0.05),
    ),
    PreviewLight(
        "surroundings 1",
        (KeyLight((0.55, 0.75, 0.6), (0.85, 0.78, 0.66), 8.0),),
        ((0.42, 0.52, 0.70), (0.30, 0.32, 0.34), (0.12, 0.13, 0.10)),
        yaw_degrees=-32.0,
    ),
    PreviewLight(
        "surroundings 2",
        (
            KeyLight((-0.85, 0.12, 0.35), (1.25, 0.74, 0.36), 7.0),
            KeyLight((0.9, 0.3, -0.75), (0.35, 0.42, 0.6), 18.0),
        ),
        ((0.20, 0.24, 0.34), (0.20, 0.16, 0.15), (0.09, 0.07, 0.05)),
        yaw_degrees=32.0,
    ),
)
RELIT_LIGHTS: tuple[str, ...] = tuple(light.name for light in PREVIEW_LIGHTS)


def preview_lights(surroundings: Sequence[Surroundings] = ()) -> tuple[PreviewLight, ...]:
    """Return the lights of the strip, the last ones replaced by the given surroundings.

    Raises:
        ValueError: there are more surroundings than places for them.
    """
    places = sum(light.name.startswith("surroundings") for light in PREVIEW_LIGHTS)
    if len(surroundings) > places:
        raise ValueError(f"the strip has room for {places} surroundings, got {len(surroundings)}")
    first = len(PREVIEW_LIGHTS) - places
    replaced = tuple(
        PreviewLight(given.name, (given.sun,), yaw_degrees=light.yaw_degrees, surroundings=given)
        for given, light in zip(surroundings, PREVIEW_LIGHTS[first:], strict=False)
    )
    return (*PREVIEW_LIGHTS[:first], *replaced, *PREVIEW_LIGHTS[first + len(replaced) :])
