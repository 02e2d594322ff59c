"""Procedural colour of an eyeball: sclera, limbus, iris and pupil as a function of direction from its centre.

The same function fills the texture of the exported eyes and colours them in previews. Directions are polar about the
optical axis: ``theta`` from the axis, ``phi`` around it (0 to the viewer's right, π/2 up), in radians.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

# Linear reflectance of the white of the eye; never white (see the notes on the albedo prior).
SCLERA_ALBEDO = (0.58, 0.52, 0.48)
PUPIL_ALBEDO = (0.004, 0.004, 0.004)
DEFAULT_IRIS_ALBEDO = (0.115, 0.058, 0.026)
# Half angle of the part of the eyeball that the texture's inscribed circle covers; lids hide the rest.
TEXTURE_HALF_ANGLE = math.radians(64.0)
_LIMBUS_SOFTNESS = 0.09
_PUPIL_SOFTNESS = 0.05


def eye_albedo(
    theta: Float[np.ndarray, "*shape"],
    phi: Float[np.ndarray, "*shape"],
    *,
    iris_half_angle: float,
    pupil_half_angle: float,
    iris_albedo: tuple[float, float, float] = DEFAULT_IRIS_ALBEDO,
) -> Float[np.ndarray, "*shape 3"]:
    """Return the linear diffuse reflectance of an eye in the given directions.

    The iris has radial fibres, a lighter ring around the pupil and a dark limbal ring; the sclera is `SCLERA_ALBEDO`
    and reddens slightly away from the iris. Borders are soft by a few hundredths of the iris, as in an eye.
    """
    radius = theta / iris_half_angle
    pupil = pupil_half_angle / iris_half_angle
    iris = np.asarray(iris_albedo) * _iris_pattern(radius, phi, pupil)[..., None]
    sclera = _sclera(radius)
    albedo = _mix(iris, sclera, _step(radius, 1.0, _LIMBUS_SOFTNESS))
    return _mix(np.asarray(PUPIL_ALBEDO), albedo, _step(radius, pupil, _PUPIL_SOFTNESS))


def eye_uv(theta: Float[np.ndarray, "*shape"], phi: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
    """Return texture coordinates (v down) of directions: the angle from the axis is the distance from the centre."""
    radius = 0.5 * np.clip(theta / TEXTURE_HALF_ANGLE, 0.0, 1.0)
    return np.stack([0.5 + radius * np.cos(phi), 0.5 - radius * np.sin(phi)], axis=-1)


def eye_texture(
    size: int,
    *,
    iris_half_angle: float,
    pupil_half_angle: float,
    iris_albedo: tuple[float, float, float] = DEFAULT_IRIS_ALBEDO,
) -> Float[np.ndarray, "size size 3"]:
    """Draw the texture that `eye_uv` addresses: linear reflectance, float32, ``size`` texels a side."""
    offset = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(offset, -offset)
    theta = np.hypot(x, y) * 2.0 * TEXTURE_HALF_ANGLE
    albedo = eye_albedo(
        theta,
        np.arctan2(y, x),
        iris_half_angle=iris_half_angle,
        pupil_half_angle=pupil_half_angle,
        iris_albedo=iris_albedo,
    )
    return albedo.astype(np.float32)


def eye_directions(
    points: Float[np.ndarray, "point 3"], centre: Float[np.ndarray, "3"], axis: Float[np.ndarray, "3"]
) -> tuple[Float[np.ndarray, "point"], Float[np.ndarray, "point"]]:
    """Return ``theta`` and ``phi`` of points around an eye's centre; +y is up, the axis is roughly +z."""
    forward = axis / np.linalg.norm(axis)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    up = np.cross(forward, right)
    offset = points - centre
    x, y, z = offset @ right, offset @ up, offset @ forward
    return np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)


def fit_sphere(points: Float[np.ndarray, "point 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Fit centre and radius of a sphere to points by linear least squares (|p|² = 2 p·c + k).

    Raises:
        ValueError: fewer than four points.
    """
    if len(points) < 4:
        raise ValueError(f"a sphere needs four points, got {len(points)}")
    origin = points.mean(axis=0)
    local = (points - origin).astype(np.float64)
    design = np.concatenate([2.0 * local, np.ones((len(local), 1))], axis=1)
    solution = np.linalg.lstsq(design, (local**2).sum(axis=1), rcond=None)[0]
    radius = math.sqrt(max(float(solution[3] + solution[:3] @ solution[:3]), 0.0))
    return origin + solution[:3], radius


def _iris_pattern(radius: np.ndarray, phi: np.ndarray, pupil: float) -> np.ndarray:
    """Return the brightness of the iris over its mean colour: fibres, collarette and limbal ring."""
    across = np.clip((radius - pupil) / (1.0 - pupil), 0.0, 1.0)
    waves = ((23, 0.4, 1.3), (37, 2.1, -1.9), (61, 4.0, 2.7), (97, 1.2, -3.1), (151, 5.1, 1.1))
    fibres = sum(
        np.cos(count * phi + phase + twist * across) / (index + 2.0)
        for index, (count, phase, twist) in enumerate(waves)
    )
    lobes = 0.5 + 0.5 * np.cos(5.0 * phi + 0.7 + 1.1 * np.sin(3.0 * phi))
    collarette = np.exp(-(((across - 0.22 - 0.05 * lobes) / 0.13) ** 2))
    limbus = _step(across, 0.86, 0.13)
    return (0.92 + 0.26 * fibres * (0.4 + 0.6 * across) + 0.55 * collarette) * (1.0 - 0.72 * limbus)


def _sclera(radius: np.ndarray) -> np.ndarray:
    """Return the sclera's colour: greyer at the limbus, redder towards the corners of the eye."""
    corner = np.clip((radius - 1.3) / 1.7, 0.0, 1.0)[..., None]
    near = np.exp(-np.clip(radius - 1.0, 0.0, None) / 0.12)[..., None]
    white = np.asarray(SCLERA_ALBEDO)
    return white * (1.0 - corner * np.array([0.04, 0.16, 0.18])) * (1.0 - near * np.array([0.34, 0.28, 0.22]))


def _step(value: np.ndarray, edge: float, softness: float) -> np.ndarray:
    """Rise smoothly from 0 to 1 over ``softness`` around ``edge``."""
    ramp = np.clip((value - edge) / softness + 0.5, 0.0, 1.0)
    return ramp * ramp * (3.0 - 2.0 * ramp)


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first * (1.0 - share[..., None]) + second * share[..., None]
