"""What a detector of faces is, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from jaxtyping import Float, UInt8
from numpy import ndarray

from facealbedo.core.errors import FaceAlbedoError

LandmarkKind = Literal["mediapipe478", "ibug68"]


class DetectorError(FaceAlbedoError):
    """A detector cannot be used here: its weights are missing, for example."""


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """A face in a photo, in the photo's pixels (x right, y down, the first pixel's centre at 0.5).

    Attributes:
        landmarks_px: Points of the layout ``kind``; some may lie outside the photo.
        confidence: How sure the detector is that this is a face, in [0, 1].
        box_px: Bounding box of the landmarks: left, top, right, bottom.
        kind: Which point is what: "mediapipe478" (FaceMesh with irises) or "ibug68" (300-W).
    """

    landmarks_px: Float[ndarray, "landmark 2"]
    confidence: float
    box_px: tuple[float, float, float, float]
    kind: LandmarkKind

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        left, top, right, bottom = self.box_px
        return max(right - left, bottom - top)


class FaceDetector(Protocol):
    """Finds faces and their landmarks. Calls on the same photo give the same faces."""

    kind: LandmarkKind
    """Layout of the landmarks that it gives."""

    def detect(self, image_srgb: UInt8[ndarray, "height width 3"]) -> list[DetectedFace]:
        """Return the faces of an upright photo, the largest first; none when there are none.

        Raises:
            DetectorError: The detector cannot be used here.
        """
        ...


def box_of(landmarks_px: Float[ndarray, "landmark 2"]) -> tuple[float, float, float, float]:
    """Return the bounding box of points: left, top, right, bottom."""
    (left, top), (right, bottom) = landmarks_px.min(axis=0), landmarks_px.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def overlap(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> float:
    """Return how much two boxes have in common, as a part of the smaller one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return max(width, 0.0) * max(height, 0.0) / smaller if smaller > 0 else 0.0
