"""Projection and pose have exact inverses, for any camera and any point before it."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.core.geometry.projection import project, unproject, view_to_world, world_to_view
from facealbedo.core.geometry.rotations import axis_angle_to_matrix, matrix_to_euler_degrees
from facealbedo.core.types import Camera, Pose


def _number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, width=32)


_vector = st.tuples(_number(-3, 3), _number(-3, 3), _number(-3, 3))


def _tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=200, deadline=None)
@given(
    point=st.tuples(_number(-2, 2), _number(-2, 2), _number(-50, -0.0625)),
    focal=_number(1, 20_000),
    principal=st.tuples(_number(-5_000, 5_000), _number(-5_000, 5_000)),
)
def test_unproject_inverts_project(point: tuple, focal: float, principal: tuple) -> None:
    camera = Camera(focal_px=_tensor([focal]), principal_px=_tensor([principal]), height=64, width=64)
    points = _tensor([[point]])
    back = unproject(project(points, camera), -points[..., 2], camera)
    torch.testing.assert_close(back, points, rtol=1e-9, atol=1e-7)


@settings(max_examples=200, deadline=None)
@given(axis_angle=_vector, translation=_vector, point=_vector)
def test_view_to_world_inverts_world_to_view(axis_angle: tuple, translation: tuple, point: tuple) -> None:
    pose = Pose(rotation=axis_angle_to_matrix(_tensor([axis_angle])), translation=_tensor([translation]))
    points = _tensor([[point]])
    torch.testing.assert_close(view_to_world(world_to_view(points, pose), pose), points, rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(axis_angle=_vector, scale=_number(0.125, 8), point=st.tuples(_number(-1, 1), _number(-1, 1), _number(-9, -1)))
def test_scaling_an_image_scales_focal_and_principal(axis_angle: tuple, scale: float, point: tuple) -> None:
    points = _tensor([[point]])
    camera = Camera(focal_px=_tensor([700.0]), principal_px=_tensor([[31.0, 17.0]]), height=64, width=64)
    larger = Camera(camera.focal_px * scale, camera.principal_px * scale, height=64, width=64)
    torch.testing.assert_close(project(points, larger), project(points, camera) * scale)
    yaw, pitch, roll = matrix_to_euler_degrees(axis_angle_to_matrix(_tensor([axis_angle])))
    assert -180 <= yaw <= 180
    assert -90 <= pitch <= 90
    assert -180 <= roll <= 180
