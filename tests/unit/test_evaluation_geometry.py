"""Predictions for the scorers of NoW and REALY, read back by trimesh."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from facealbedo.assets import load_face_model
from facealbedo.benchmarks.evaluation_geometry import predict
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.evaluation.geometry import mesh_obj_mm
from facealbedo.fabricated import fabricated_portrait


def test_the_mesh_is_the_skin_in_millimetres() -> None:
    model = load_face_model()
    mesh = trimesh.load(io.BytesIO(mesh_obj_mm(model, model.mean)), file_type="obj", process=False)
    assert len(mesh.faces) == len(model.uv_triangles)
    skin = model.mean[model.uv_source]
    height = 1000 * float(skin[:, 1].max() - skin[:, 1].min())
    assert float(np.ptp(mesh.vertices[:, 1])) == pytest.approx(height, abs=0.01)


def test_a_folder_in_both_layouts(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "subject" / "selfie").mkdir(parents=True)
    (photos / "subject" / "selfie" / "one.png").write_bytes(fabricated_portrait(1))
    (photos / "wall.png").write_bytes(encode_png_srgb(torch.full((3, 96, 96), 0.4)))
    missing = predict(photos, tmp_path / "now", "now")
    assert missing == ["wall.png: no face was found"]
    mesh = trimesh.load(tmp_path / "now" / "subject" / "selfie" / "one.obj", process=False)
    landmarks = np.load(tmp_path / "now" / "subject" / "selfie" / "one.npy")
    assert landmarks.shape == (7, 3)
    # Triangles of the face are about 3 mm wide: every landmark lies near a vertex.
    assert cKDTree(mesh.vertices).query(landmarks)[0].max() < 4.0
    # From the subject's right (-x) to the left: eye corners in order, then the mouth's.
    assert (np.diff(landmarks[:4, 0]) > 10).all()
    assert landmarks[5, 0] < landmarks[4, 0] < landmarks[6, 0]
    assert landmarks[:4, 1].min() > landmarks[4, 1] > landmarks[5:, 1].max()
    predict(photos, tmp_path / "realy", "realy")
    assert (tmp_path / "realy" / "one.obj").is_file()
