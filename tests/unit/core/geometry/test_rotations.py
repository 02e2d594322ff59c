"""Rotations against scipy, closed forms and numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from facealbedo.core.geometry.rotations import (
    axis_angle_to_matrix,
    euler_degrees_to_matrix,
    matrix_to_euler_degrees,
    random_rotations,
    rotation_angle_degrees,
    skew,
)


def _vectors(count: int, scale: float) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * scale


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-4, 5e-3, 1e-2, 0.1, 1.0, 3.0, 20.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_axis_angle_agrees_with_scipy(scale: float, dtype: torch.dtype, tolerance: float) -> None:
    vectors = _vectors(50, scale).to(dtype)
    expected = Rotation.from_rotvec(vectors.double().numpy()).as_matrix()
    result = axis_angle_to_matrix(vectors)
    assert result.dtype == dtype
    np.testing.assert_allclose(
        result.double().numpy(), expected, atol=tolerance * max(1.0, scale / 3)
    )  # the angle's own rounding


def test_axis_angle_is_smooth_at_zero() -> None:
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_matrix, zero)
    for axis in range(3):
        torch.testing.assert_close(jacobian[..., axis], skew(torch.eye(3, dtype=torch.float64)[axis]))
    assert torch.autograd.gradcheck(axis_angle_to_matrix, (_vectors(4, 1.0).requires_grad_(),))
    assert torch.autograd.gradcheck(axis_angle_to_matrix, (_vectors(4, 1e-3).requires_grad_(),))


def test_leading_axes_are_free() -> None:
    vectors = _vectors(24, 1.0).reshape(2, 3, 4, 3)
    torch.testing.assert_close(axis_angle_to_matrix(vectors)[1, 2, 3], axis_angle_to_matrix(vectors[1, 2, 3]))


def test_euler_agrees_with_scipy() -> None:
    generator = np.random.default_rng(0)
    angles = generator.uniform(-1, 1, (200, 3)) * [179.0, 89.0, 179.0]
    expected = Rotation.from_euler("YXZ", angles, degrees=True)
    matrix = euler_degrees_to_matrix(*torch.from_numpy(angles).unbind(-1))
    np.testing.assert_allclose(matrix.numpy(), expected.as_matrix(), atol=1e-12)
    back = torch.stack(matrix_to_euler_degrees(torch.from_numpy(expected.as_matrix())), dim=-1)
    np.testing.assert_allclose(back.numpy(), angles, atol=1e-8)


def test_euler_signs_mean_what_the_docstring_says() -> None:
    def turned(yaw: float, pitch: float, roll: float, direction: list[float]) -> torch.Tensor:
        angles = (torch.tensor(angle, dtype=torch.float64) for angle in (yaw, pitch, roll))
        return euler_degrees_to_matrix(*angles) @ torch.tensor(direction, dtype=torch.float64)

    face, top = [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]
    assert turned(30, 0, 0, face)[0] == pytest.approx(0.5)  # to the right of the image
    assert turned(0, 30, 0, face)[1] == pytest.approx(-0.5)  # down
    assert turned(0, 0, 30, top)[0] == pytest.approx(-0.5)  # the top goes to the left of the image
    for angle in matrix_to_euler_degrees(torch.eye(3)):
        assert angle == 0


def test_pitch_keeps_its_accuracy_near_the_poles() -> None:
    for pitch in (89.9999, -89.9999):
        matrix = Rotation.from_euler("YXZ", [10.0, pitch, 0.0], degrees=True).as_matrix()
        assert matrix_to_euler_degrees(torch.from_numpy(matrix))[1] == pytest.approx(pitch, abs=1e-9)


def test_rotation_angle_agrees_with_scipy() -> None:
    first, second = Rotation.random(100, random_state=1), Rotation.random(100, random_state=2)
    angles = rotation_angle_degrees(torch.from_numpy(first.as_matrix()), torch.from_numpy(second.as_matrix()))
    np.testing.assert_allclose(angles.numpy(), np.degrees((second * first.inv()).magnitude()), atol=1e-9)


def test_random_rotations_are_uniform_rotations() -> None:
    rotations = random_rotations(20_000, torch.Generator().manual_seed(0), torch.float64)
    identity = torch.eye(3, dtype=torch.float64).expand(20_000, 3, 3)
    torch.testing.assert_close(rotations @ rotations.transpose(1, 2), identity)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(20_000, dtype=torch.float64))
    # Under the Haar measure the mean is 0, every entry has variance 1/3, and the angle has density (1 - cos t) / pi.
    assert rotations.mean(0).abs().max() < 0.02
    assert (rotations.var(0) - 1 / 3).abs().max() < 0.02
    mean_angle = rotation_angle_degrees(identity, rotations).mean().item()
    assert mean_angle == pytest.approx(np.degrees(np.pi / 2 + 2 / np.pi), abs=1.0)


def test_random_rotations_repeat_with_the_seed() -> None:
    first, second = (random_rotations(5, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, random_rotations(5, torch.Generator().manual_seed(8)))
