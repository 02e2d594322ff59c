"""face-alignment's real loading and mapping code, with random weights in its own file format."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from face_alignment.models import FAN

from facealbedo.core.detect import DetectorError, FaceAlignmentDetector
from facealbedo.core.detect.face_alignment_detector import WEIGHTS_FILE
from facealbedo.core.imaging.decoding import decode_image


@pytest.fixture
def astronaut() -> np.ndarray:
    return decode_image((files("skimage.data") / "astronaut.png").read_bytes()).srgb


def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / WEIGHTS_FILE


def test_landmarks_lie_in_the_face_that_was_found(
    astronaut: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), hub(tmp_path, monkeypatch))
    (face,) = FaceAlignmentDetector().detect(astronaut)
    assert face.landmarks_px.shape == (68, 2)
    assert face.kind == "ibug68"
    # Random weights know no face, but every point is mapped back into the square around the one that was found.
    assert np.isfinite(face.landmarks_px).all()
    # The face's middle is near (225, 112) and the network's square about 200 px wide.
    assert (np.abs(face.landmarks_px - np.array([225, 112])) < 125).all()


def test_damaged_weights_are_named(astronaut: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path, monkeypatch).write_bytes(b"not a network")
    with pytest.raises(DetectorError, match="2DFAN4"):
        FaceAlignmentDetector().detect(astronaut)


def test_a_picture_without_faces_needs_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path, monkeypatch)
    assert FaceAlignmentDetector().detect(np.full((200, 200, 3), 128, np.uint8)) == []
