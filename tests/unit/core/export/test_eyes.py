from __future__ import annotations

import math

import numpy as np
import pytest

from facealbedo.core.export.eyes import (
    PUPIL_ALBEDO,
    SCLERA_ALBEDO,
    TEXTURE_HALF_ANGLE,
    eye_albedo,
    eye_directions,
    eye_texture,
    eye_uv,
    fit_sphere,
)

IRIS, PUPIL = math.radians(22.8), math.radians(8.0)


def ring(degrees: float) -> np.ndarray:
    phi = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    return eye_albedo(np.full_like(phi, math.radians(degrees)), phi, iris_half_angle=IRIS, pupil_half_angle=PUPIL)


def test_rings_have_their_colours() -> None:
    np.testing.assert_allclose(ring(3.0), np.broadcast_to(PUPIL_ALBEDO, (720, 3)))
    white = ring(30.0).mean(axis=0)
    np.testing.assert_allclose(white, SCLERA_ALBEDO, rtol=0.08)
    iris = ring(15.0)
    assert iris.mean(axis=0)[0] > iris.mean(axis=0)[2]
    assert iris.std(axis=0)[0] > 0.02 * iris.mean()
    assert ring(21.3).mean() < 0.7 * ring(17.0).mean() < 0.7 * white.mean()


def test_albedo_is_always_a_reflectance() -> None:
    rng = np.random.default_rng(0)
    for colour in ((0.0, 0.0, 0.0), (0.3, 0.5, 0.4)):
        theta, phi = rng.uniform(0, np.pi, 5000), rng.uniform(-np.pi, np.pi, 5000)
        values = eye_albedo(theta, phi, iris_half_angle=IRIS, pupil_half_angle=PUPIL, iris_albedo=colour)
        assert values.min() >= 0
        assert values.max() < 1


def test_texture_shows_each_direction_at_its_coordinates() -> None:
    size = 256
    texture = eye_texture(size, iris_half_angle=IRIS, pupil_half_angle=PUPIL)
    row, column = np.mgrid[0:size, 0:size]
    x, y = (column + 0.5) / size - 0.5, 0.5 - (row + 0.5) / size
    theta, phi = np.hypot(x, y) * 2 * TEXTURE_HALF_ANGLE, np.arctan2(y, x)
    inside = theta < TEXTURE_HALF_ANGLE
    uv = eye_uv(theta[inside], phi[inside])
    np.testing.assert_allclose(uv, np.stack([column + 0.5, row + 0.5], axis=-1)[inside] / size, atol=1e-9)
    expected = eye_albedo(theta, phi, iris_half_angle=IRIS, pupil_half_angle=PUPIL)
    np.testing.assert_allclose(texture, expected, atol=1e-6)


def test_directions_of_known_points() -> None:
    centre = np.array([1.0, 2.0, 3.0])
    points = centre + np.array([[0, 0, 2.0], [1, 0, 0], [0, 1, 0], [0, 0, -1], [1, 1, math.sqrt(2)]])
    theta, phi = eye_directions(points, centre, np.array([0, 0, 5.0]))
    np.testing.assert_allclose(theta, np.radians([0, 90, 90, 180, 45]), atol=1e-12)
    np.testing.assert_allclose(phi[[1, 2, 4]], np.radians([0, 90, 45]), atol=1e-12)


def test_sphere_is_found_from_a_cap() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(200, 3))
    directions[:, 2] = np.abs(directions[:, 2])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centre, radius = fit_sphere(np.array([0.03, -0.01, 0.2]) + 0.012 * directions)
    np.testing.assert_allclose(centre, [0.03, -0.01, 0.2], atol=1e-12)
    assert radius == pytest.approx(0.012)
    with pytest.raises(ValueError, match="four points"):
        fit_sphere(directions[:3])
