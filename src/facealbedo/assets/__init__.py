"""Data that ships with the package, and its loaders."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.face_model.model import FaceModel

FACE_MODEL_FILE = "face_model.safetensors"


class AssetError(FaceAlbedoError):
    """A file that ships with the package is damaged, or does not fit the others: install it again."""


@lru_cache(maxsize=1)
def load_face_model() -> FaceModel:
    """Return the embedded face model (CPU, float32); read once a process.

    Where it comes from: ``face_model.md`` beside the file.
    """
    return FaceModel.from_bytes((files(__name__) / FACE_MODEL_FILE).read_bytes())
