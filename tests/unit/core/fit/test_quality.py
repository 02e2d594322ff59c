"""Quality numbers of fits whose answers are known."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.core.fit.landmark_groups import IBUG_INNER_LIPS, MEDIAPIPE478, MEDIAPIPE_INNER_LIPS
from facealbedo.core.fit.landmarks import LandmarkBasis, LandmarkFit, fit_landmarks
from facealbedo.core.fit.quality import inside_outline, measure_fit, outside_mouth, visible_landmarks
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.types import Camera, FaceCoefficients, Landmarks, Pose


def _fit(basis: LandmarkBasis, yaw: float) -> LandmarkFit:
    zeros = torch.zeros(2, dtype=torch.float64)
    rotation = euler_degrees_to_matrix(zeros + yaw, zeros, zeros)
    pose = Pose(rotation, torch.tensor([[0.0, 0.0, -0.65]] * 2, dtype=torch.float64) - rotation @ basis.pivot)
    camera = Camera(zeros + 1000.0, torch.full((2, 2), 256.0, dtype=torch.float64), height=512, width=512)
    shape = (torch.zeros(2, len(basis.identity)).double(), torch.zeros(2, len(basis.expression)).double())
    faces = FaceCoefficients(*shape, torch.zeros(2, 0).double())
    points = project(world_to_view(basis.decode(faces), pose), camera)
    return fit_landmarks(basis, Landmarks(points, zeros + 1), camera.principal_px, (512, 512))


def test_groups_are_measured_apart(real_basis: LandmarkBasis) -> None:
    fit = _fit(real_basis, 0.0)
    residuals = torch.zeros_like(fit.residuals_px)
    for size, group in enumerate(MEDIAPIPE478.groups.values(), start=1):
        residuals[:, list(group), 0] = 0.01 * size * fit.scale_px[:, None]
    quality = measure_fit(load_face_model(), dataclasses.replace(fit, residuals_px=residuals))
    for size, name in enumerate(MEDIAPIPE478.groups, start=1):
        assert getattr(quality, f"{name}_error_percent").tolist() == pytest.approx([size] * 2)


def test_a_perfect_fit(real_basis: LandmarkBasis) -> None:
    quality = measure_fit(load_face_model(), _fit(real_basis, 0.0))
    assert quality.nme_percent.max() < 0.3
    assert quality.visible_fraction.min() > 0.9
    assert quality.identity_rms.max() < 0.2
    assert quality.converged.all()
    rows = quality.rows()
    assert len(rows) == 2
    assert rows[0]["yaw_degrees"] == pytest.approx(0.0, abs=0.5)
    assert isinstance(rows[0]["converged"], bool)


def test_turned_heads_show_less(real_basis: LandmarkBasis) -> None:
    model = load_face_model()
    shown = [measure_fit(model, _fit(real_basis, yaw)).visible_fraction[0].item() for yaw in (0.0, 30.0, 60.0)]
    assert shown[0] > shown[1] > shown[2]
    left, right = 454, 234  # ends of the oval at the subject's left and right ear
    visible = visible_landmarks(model, _fit(real_basis, 50.0))[0]  # face to the image's right: its right cheek shows
    assert visible[right]
    assert not visible[left]


def test_landmarks_outside_the_image_are_not_visible(real_basis: LandmarkBasis) -> None:
    fit = _fit(real_basis, 0.0)
    half = dataclasses.replace(fit, camera=dataclasses.replace(fit.camera, width=256))
    model = load_face_model()
    assert (visible_landmarks(model, half) == (visible_landmarks(model, fit) & (fit.landmarks_px[..., 0] <= 256))).all()
    assert measure_fit(model, half).visible_fraction.max() < 0.6


def test_a_strip_as_wide_as_the_fit_errs_is_left_out_at_the_outline(real_basis: LandmarkBasis) -> None:
    fit = _fit(real_basis, 0.0)
    fit = dataclasses.replace(fit, nme_percent=100 * torch.tensor([3.0, 9.0]) / fit.scale_px)
    v, u = torch.meshgrid(torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij")
    # A head that the lower border of the picture cuts off: that is no outline.
    from_middle = torch.where(v < 300, torch.hypot(u - 256, v - 300), (u - 256).abs())
    head = (from_middle < 150).expand(2, -1, -1)
    inside = inside_outline(head, fit, errors=2.0)[:, 0] > 0
    for mask, margin in zip(inside, (6.0, 18.0), strict=True):
        assert mask[from_middle < 150 - margin - 1.5].all()
        assert not mask[from_middle > 150 - margin + 1.5].any()


@pytest.mark.parametrize(("count", "border"), [(478, MEDIAPIPE_INNER_LIPS), (68, IBUG_INNER_LIPS)])
def test_an_open_mouth_is_left_out_and_closed_lips_are_not(
    real_basis: LandmarkBasis, count: int, border: tuple[int, ...]
) -> None:
    fit = _fit(real_basis, 0.0)
    fit = dataclasses.replace(fit, nme_percent=100 * torch.tensor([4.0, 4.0]) / fit.scale_px)
    angle = torch.arange(len(border)) / len(border) * 6.2832
    v, u = torch.meshgrid(torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij")
    for height, lost in ((30.0, 34.0 * 54.0 * 3.1416), (2.0, 0.0)):
        points = torch.zeros(count, 2)
        points[list(border)] = torch.stack([256 + 50 * angle.cos(), 300 + height * angle.sin()], dim=-1)
        left = outside_mouth(points, fit, 512, 512)[0, 0]
        assert (left == 0).sum() == pytest.approx(lost, rel=0.12)
        if lost:
            assert left[torch.hypot((u - 256) / 45, (v - 300) / 26) < 1].max() == 0
