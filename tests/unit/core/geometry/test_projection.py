"""Projection against hand-computed points, a homogeneous camera matrix and numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facealbedo.core.geometry.projection import project, rotate_to_view, unproject, view_to_world, world_to_view
from facealbedo.core.geometry.rotations import random_rotations
from facealbedo.core.types import Camera, Pose


def _camera(batch: int, dtype: torch.dtype = torch.float64) -> Camera:
    generator = torch.Generator().manual_seed(5)
    focal = 500 + 500 * torch.rand(batch, generator=generator, dtype=dtype)
    principal = 100 + 50 * torch.rand(batch, 2, generator=generator, dtype=dtype)
    return Camera(focal_px=focal, principal_px=principal, height=240, width=200)


def _points(batch: int, count: int) -> torch.Tensor:
    points = torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64) * 0.1
    return points - torch.tensor([0.0, 0.0, 0.7], dtype=torch.float64)


def test_points_whose_pixels_are_known() -> None:
    camera = Camera(focal_px=torch.tensor([100.0]), principal_px=torch.tensor([[32.0, 24.0]]), height=48, width=64)
    points = torch.tensor([[[0.0, 0.0, -1.0], [0.1, 0.0, -1.0], [0.0, 0.1, -1.0], [0.1, -0.2, -2.0]]])
    expected = torch.tensor([[[32.0, 24.0], [42.0, 24.0], [32.0, 14.0], [37.0, 34.0]]])
    torch.testing.assert_close(project(points, camera), expected)


def test_agrees_with_the_homogeneous_camera_matrix() -> None:
    camera, points = _camera(3), _points(3, 20)
    for index in range(3):
        f, (cx, cy) = camera.focal_px[index].item(), camera.principal_px[index].tolist()
        # Hartley & Zisserman's camera has y down and z forward: K [x, -y, -z].
        homogeneous = points[index].numpy() * [1, -1, -1] @ np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]]).T
        pixels = homogeneous[:, :2] / homogeneous[:, 2:]
        np.testing.assert_allclose(project(points, camera)[index].numpy(), pixels, rtol=1e-12)


def test_unproject_inverts_project() -> None:
    camera, points = _camera(4), _points(4, 30)
    torch.testing.assert_close(unproject(project(points, camera), -points[..., 2], camera), points)


def test_world_and_view_are_rigid_inverses() -> None:
    pose = Pose(random_rotations(4, torch.Generator().manual_seed(1), torch.float64), _points(4, 1)[:, 0])
    points = _points(4, 30)
    view = world_to_view(points, pose)
    for batch in range(4):
        for index in range(3):
            expected = pose.rotation[batch] @ points[batch, index] + pose.translation[batch]
            torch.testing.assert_close(view[batch, index], expected)
    torch.testing.assert_close(view_to_world(view, pose), points)
    torch.testing.assert_close(torch.cdist(view, view), torch.cdist(points, points))
    torch.testing.assert_close(rotate_to_view(points, pose) + pose.translation[:, None], view)


def test_gradients() -> None:
    points = _points(2, 3).requires_grad_()
    focal = torch.tensor([300.0, 500.0], dtype=torch.float64, requires_grad=True)
    principal = torch.tensor([[10.0, 20.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)

    def pixels(points: torch.Tensor, focal: torch.Tensor, principal: torch.Tensor) -> torch.Tensor:
        return project(points, Camera(focal_px=focal, principal_px=principal, height=8, width=8))

    assert torch.autograd.gradcheck(pixels, (points, focal, principal))


@pytest.mark.gpu
def test_same_on_cuda() -> None:
    camera, points = _camera(2), _points(2, 5)
    on_device = project(points.cuda(), camera.to("cuda"))
    torch.testing.assert_close(on_device.cpu(), project(points, camera))
