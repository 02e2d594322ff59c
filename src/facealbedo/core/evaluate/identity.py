"""Is it still the same person? Cosine of face descriptors by dlib's ResNet, a network that no training here uses.

King, "High quality face recognition with deep metric learning", 2017: 128 numbers of a 150 x 150 chip, aligned by
five landmarks.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from facealbedo.core.metrics.masks import EvaluationError

CHIP_PX, CHIP_PADDING = 150, 0.25
# MediaPipe's landmarks of dlib's five: eye corners of the subject's left eye, of the right eye, base of the nose.
_FIVE_OF_478 = (263, 362, 33, 133, 2)
_FIVE_OF_68 = (45, 42, 36, 39, 33)


@lru_cache(maxsize=1)
def _network() -> Any:
    try:
        import dlib  # noqa: PLC0415 (optional)
    except ImportError as error:
        raise EvaluationError("identity needs dlib; install the extra `facealbedo[evaluate]`") from error
    # The package is not imported: it needs an outdated setuptools. Only its weights are wanted.
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or found.origin is None:
        raise EvaluationError("identity needs face_recognition_models; install the extra `facealbedo[evaluate]`")
    weights = Path(found.origin).parent / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    return dlib, dlib.face_recognition_model_v1(str(weights))


def face_descriptor(
    codes: UInt8[np.ndarray, "height width 3"], landmarks_px: Float[np.ndarray, "landmark 2"]
) -> Float[np.ndarray, "128"]:
    """Return the descriptor of the face with these landmarks (68 or 478) in an sRGB image.

    Raises:
        EvaluationError: dlib or its weights are missing, or the landmarks are of another kind.
    """
    dlib, network = _network()
    order = {68: _FIVE_OF_68, 478: _FIVE_OF_478, 468: _FIVE_OF_478}.get(len(landmarks_px))
    if order is None:
        raise EvaluationError(f"identity needs 68 or 478 landmarks, got {len(landmarks_px)}")
    points = [dlib.point(round(float(x)), round(float(y))) for x, y in landmarks_px[list(order)]]
    (left, top), (right, bottom) = landmarks_px.min(0), landmarks_px.max(0)
    box = dlib.rectangle(int(left), int(top), int(right), int(bottom))
    chip = dlib.get_face_chip(
        np.ascontiguousarray(codes), dlib.full_object_detection(box, points), CHIP_PX, CHIP_PADDING
    )
    return np.array(network.compute_face_descriptor(chip))


def cosine(first: Float[np.ndarray, "128"], second: Float[np.ndarray, "128"]) -> float:
    """Return the cosine of two descriptors."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
