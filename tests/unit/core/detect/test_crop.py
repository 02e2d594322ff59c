"""Crops: where points go, what is photo, and light that is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.core.detect.crop import CropConfig, crop_face
from facealbedo.core.detect.detector import DetectedFace, box_of
from facealbedo.core.detect.gates import GateLimits, fit_objection, size_objection
from facealbedo.core.imaging.decoding import DecodedImage


def face_at(left: float, top: float, size: float) -> DetectedFace:
    points = np.array([[left, top], [left + size, top + size], [left + size / 3, top + size / 2]])
    return DetectedFace(points, 1.0, box_of(points), "mediapipe478")


def ramp(height: int, width: int) -> DecodedImage:
    """16-bit codes whose linear value is known at every place: red grows with x, green with y."""
    y, x = np.mgrid[0:height, 0:width]
    codes = np.stack([x * 60, y * 60, np.full_like(x, 20000)], axis=-1).astype(np.uint16)
    return DecodedImage.from_srgb(codes)


@settings(max_examples=25, deadline=None)
@given(left=st.floats(-40, 500), top=st.floats(-40, 350), size=st.floats(30, 400), side=st.sampled_from([64, 128, 256]))
def test_points_and_axis_keep_their_place_in_the_photo(left: float, top: float, size: float, side: int) -> None:
    face = face_at(left, top, size)
    crop = crop_face(ramp(400, 600), face, CropConfig(max_size_px=side, min_size_px=side))
    origin = torch.tensor(crop.origin_px)
    back = crop.landmarks_px / crop.scale + origin
    torch.testing.assert_close(back, torch.from_numpy(face.landmarks_px).float(), atol=2e-3, rtol=1e-4)
    axis = crop.principal_px / crop.scale + origin
    torch.testing.assert_close(axis, torch.tensor([300.0, 200.0]), atol=2e-3, rtol=1e-4)
    assert crop.image.shape == (3, side, side)
    assert crop.image.isfinite().all()


def test_pixels_are_those_of_the_photo() -> None:
    photo = ramp(400, 600)
    config = CropConfig(max_size_px=160, min_size_px=160, margin=1.6, lift=0.0)
    crop = crop_face(photo, face_at(200, 150, 100), config)
    assert crop.scale == pytest.approx(1.0)
    left, top = (round(value) for value in crop.origin_px)
    expected = photo.linear()[:, top : top + 160, left : left + 160]
    torch.testing.assert_close(crop.image, expected, atol=1e-5, rtol=1e-4)
    assert crop.valid.all()


def test_shrinking_averages_light_not_codes() -> None:
    board = np.indices((512, 512)).sum(0) % 2 * 255
    photo = DecodedImage.from_srgb(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    crop = crop_face(photo, face_at(96, 96, 320), CropConfig(max_size_px=128, min_size_px=128))
    # Half of the light of white; averaging the codes would give 0.21.
    assert crop.image[:, 20:-20, 20:-20].mean().item() == pytest.approx(0.5, abs=0.01)


def test_beyond_the_photo_is_not_valid() -> None:
    crop = crop_face(ramp(100, 100), face_at(-20, 10, 80), CropConfig(max_size_px=128, min_size_px=128))
    columns = crop.valid.any(0)
    assert not columns[:20].any()
    assert columns[-30:-10].any()
    share = 1 - (crop.origin_px[0] * -1) / (128 / crop.scale)
    assert columns.float().mean().item() == pytest.approx(share, abs=0.05)


def test_gates_say_why() -> None:
    limits = GateLimits(min_face_px=40, max_yaw_degrees=40, max_nme_percent=2.5)
    assert size_objection(41, limits) is None
    assert "too small" in str(size_objection(39, limits))
    assert fit_objection(-39, 2.4, limits) is None
    assert "turned too far" in str(fit_objection(-41, 1, limits))
    assert "does not fit" in str(fit_objection(0, 2.6, limits))
    assert "could not be fitted" in str(fit_objection(float("nan"), 1, limits))
