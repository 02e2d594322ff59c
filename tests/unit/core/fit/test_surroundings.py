"""Eye white and background against painted pictures whose colours are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facealbedo.core.fit.surroundings import _IRISES, _LID_RINGS, SurroundingsConfig, measure_surroundings

SIDE = 240
WHITE = (0.62, 0.58, 0.50)
AROUND = (0.10, 0.20, 0.40)
SKIN = (0.35, 0.22, 0.15)
EYES = ((80.0, 100.0), (160.0, 100.0))


def landmarks() -> torch.Tensor:
    """478 points of which only lids and irises count: two elliptic eyes, 50 px wide, irises of 8 px radius."""
    points = np.zeros((478, 2), np.float32)
    for (x, y), ring, iris in zip(EYES, _LID_RINGS, _IRISES, strict=True):
        angle = np.linspace(0, 2 * np.pi, len(ring), endpoint=False)
        points[list(ring)] = np.stack([x + 25 * np.cos(angle), y + 12 * np.sin(angle)], axis=1)
        points[iris[0]] = (x, y)
        points[list(iris[1:])] = [(x + 8, y), (x, y - 8), (x - 8, y), (x, y + 8)]
    return torch.from_numpy(points)


def inside_eye(index: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    centre = EYES[index]
    return ((x - centre[0]) / 25) ** 2 + ((y - centre[1]) / 12) ** 2 < 1


def picture(white: tuple[tuple[float, ...], ...] = (WHITE, WHITE)) -> tuple[torch.Tensor, torch.Tensor]:
    """A face with two eyes before a wall, and where the face is."""
    image = torch.tensor(AROUND).view(3, 1, 1).expand(3, SIDE, SIDE).clone()
    face = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    face[40:200, 40:200] = True
    image[:, face] = torch.tensor(SKIN)[:, None]
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    for index, colour in enumerate(white):
        image[:, inside_eye(index)] = torch.tensor(colour)[:, None]
        iris = (x - EYES[index][0]) ** 2 + (y - EYES[index][1]) ** 2 < 8**2
        image[:, iris] = torch.tensor([0.02, 0.03, 0.05])[:, None]
    return image, face


def everywhere() -> torch.Tensor:
    return torch.ones(SIDE, SIDE, dtype=torch.bool)


def test_colours_of_eye_white_and_wall_come_back() -> None:
    image, face = picture()
    found = measure_surroundings(image, everywhere(), face, landmarks(), yaw_degrees=5.0)
    torch.testing.assert_close(found.eye_white, torch.tensor([WHITE]), atol=1e-6, rtol=0)
    # A sum of tens of thousands of single-precision values.
    torch.testing.assert_close(found.background, torch.tensor([AROUND]), atol=0, rtol=1e-3)
    assert found.eye_white_reliability.tolist() == found.background_reliability.tolist() == [1.0]


def test_lashes_and_vessels_do_not_count() -> None:
    image, face = picture()
    lower = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    lower[104:] = True
    for index in range(2):
        image[:, inside_eye(index) & lower] *= 0.5
    found = measure_surroundings(image, everywhere(), face, landmarks(), yaw_degrees=0.0)
    torch.testing.assert_close(found.eye_white, torch.tensor([WHITE]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", ["one eye in shadow", "turned", "68 landmarks", "burnt out", "outside the photo"])
def test_an_eye_white_in_doubt_is_not_believed(case: str) -> None:
    dark = tuple(value * 0.4 for value in WHITE)
    image, face = picture((WHITE, dark) if case == "one eye in shadow" else (WHITE, WHITE))
    points, valid, yaw = landmarks(), everywhere(), 0.0
    if case == "turned":
        yaw = SurroundingsConfig().max_yaw_degrees + 1
    if case == "68 landmarks":
        points = points[:68]
    if case == "burnt out":
        image = (image * 2).clamp(max=1)
    if case == "outside the photo":
        valid[:, 120:] = False
    found = measure_surroundings(image, valid, face, points, yaw)
    assert found.eye_white_reliability.item() == 0
    assert found.eye_white.abs().max() == 0


@pytest.mark.parametrize("share", [1.0, 0.9, 0.7, 0.5])
def test_the_more_the_eyes_differ_the_less_they_are_believed(share: float) -> None:
    image, face = picture((WHITE, tuple(value * share for value in WHITE)))
    found = measure_surroundings(image, everywhere(), face, landmarks(), yaw_degrees=0.0)
    expected = 1 + math.log(share) / SurroundingsConfig().max_eye_difference
    assert found.eye_white_reliability.item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(found.eye_white, torch.tensor([WHITE]) * share**0.5, atol=1e-5, rtol=0)


def test_redder_parts_of_the_white_do_not_count() -> None:
    image, face = picture()
    left = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for x, _ in EYES:
        left[:, int(x) - 25 : int(x) - 12] = True
    for index in range(2):
        image[:, inside_eye(index) & left] = torch.tensor([0.9, 0.5, 0.45])[:, None]
    found = measure_surroundings(image, everywhere(), face, landmarks(), yaw_degrees=0.0)
    torch.testing.assert_close(found.eye_white, torch.tensor([WHITE]), atol=1e-6, rtol=0)


def test_white_between_narrow_lids_is_taken_for_shaded() -> None:
    settings = SurroundingsConfig()
    image, face = picture()
    points = landmarks()
    for (_, y), ring in zip(EYES, _LID_RINGS, strict=True):
        points[list(ring), 1] = y + (points[list(ring), 1] - y) * 0.5
    found = measure_surroundings(image, everywhere(), face, points, yaw_degrees=0.0)
    lids = points[list(_LID_RINGS[0])]
    gap = float((lids[[3, 4, 5], 1].mean() - lids[[11, 12, 13], 1].mean()) / 50)
    assert gap < math.exp(settings.narrow_log)
    factor = (gap / math.exp(settings.narrow_log)) ** -settings.narrow_slope
    torch.testing.assert_close(found.eye_white, torch.tensor([WHITE]) * factor, atol=1e-4, rtol=1e-3)
    closed = SurroundingsConfig(closed_log=math.log(gap) + 0.1)
    nothing = measure_surroundings(image, everywhere(), face, points, 0.0, closed)
    assert nothing.eye_white_reliability.item() == 0


def test_a_picture_on_its_side_gives_the_same_colours() -> None:
    image, face = picture()
    points = landmarks()
    for (_, y), ring in zip(EYES, _LID_RINGS, strict=True):
        points[list(ring), 1] = y + (points[list(ring), 1] - y) * 0.6
    upright = measure_surroundings(image, everywhere(), face, points, yaw_degrees=0.0)
    turned = torch.stack([points[:, 1], SIDE - points[:, 0]], dim=1)
    sideways = measure_surroundings(image.rot90(1, (1, 2)), everywhere(), face.rot90(1, (0, 1)), turned, 0.0)
    assert upright.eye_white.max() > max(WHITE) * 1.01
    torch.testing.assert_close(sideways.eye_white, upright.eye_white, rtol=1e-3, atol=0)
    torch.testing.assert_close(sideways.eye_white_reliability, upright.eye_white_reliability, rtol=0, atol=1e-3)


def test_a_face_that_fills_the_picture_has_no_background() -> None:
    image, _ = picture()
    found = measure_surroundings(image, everywhere(), everywhere(), landmarks(), yaw_degrees=0.0)
    assert found.background_reliability.item() == 0
    assert found.eye_white_reliability.item() == 1


def test_mirrored_picture_gives_the_same_colours() -> None:
    generator = torch.Generator().manual_seed(4)
    image, face = picture()
    image = (image * (1 + 0.1 * torch.rand(image.shape, generator=generator))).clamp(0, 1)
    points = landmarks()
    mirrored = points.clone()
    mirrored[:, 0] = SIDE - mirrored[:, 0]
    first = measure_surroundings(image, everywhere(), face, points, yaw_degrees=3.0)
    second = measure_surroundings(image.flip(-1), everywhere(), face.flip(-1), mirrored, yaw_degrees=-3.0)
    torch.testing.assert_close(first.background, second.background)
    # Masks are drawn on whole pixels, so the mirrored mask may differ by a pixel at its border.
    torch.testing.assert_close(first.eye_white, second.eye_white, rtol=0.01, atol=0)
