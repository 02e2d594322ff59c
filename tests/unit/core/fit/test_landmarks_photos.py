"""The landmark fit on development photos, when they lie beside the checkout: the numbers that the project promises."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.core.fit.landmarks import LandmarkRow, fit_many


@pytest.mark.shared
def test_every_portrait_is_fitted_well(shared_data: Path) -> None:
    from mediapipe.python.solutions.face_mesh import FaceMesh

    rows = []
    with FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=1, min_detection_confidence=0.3) as mesh:
        for path in sorted((shared_data / "photos_eval").glob("*.jpg")):
            image = cv2.imread(str(path))
            height, width = image.shape[:2]
            found = mesh.process(np.ascontiguousarray(image[..., ::-1])).multi_face_landmarks
            assert found, path.name
            points = torch.tensor([[point.x * width, point.y * height] for point in found[0].landmark])
            rows.append(LandmarkRow(path.name, points, torch.tensor([width / 2, height / 2]), (height, width)))
    assert len(rows) == 100
    fits = dict(fit_many(load_face_model(), rows))
    errors = np.array([fit.nme_percent.item() for fit in fits.values()])
    assert np.median(errors) <= 1.3
    assert errors.max() <= 3.0
    assert all(fit.converged.item() for fit in fits.values())
    distances = np.array([fit.distance_m.item() for fit in fits.values()])
    assert 0.45 < np.median(distances) < 0.8
