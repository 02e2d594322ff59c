"""The default detector: MediaPipe's networks, with a search for small faces and steadier landmarks."""

from __future__ import annotations

import threading

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from facealbedo.core.detect.detector import DetectedFace, LandmarkKind, box_of, overlap
from facealbedo.core.detect.mediapipe_graphs import MESH_INPUT_PX, FaceMesh
from facealbedo.core.detect.search import Candidate, FaceSearch
from facealbedo.core.detect.squares import Pyramid, Square, angle_of_eyes, square_around

REGION_SCALE = 1.5
"""Side of the landmark network's square over the face's: what it was trained with."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263

SAME_FACE_OVERLAP = 0.5

HOPELESS, SURE = 0.3, 0.995
"""Between these probabilities of a face the landmarks may have settled in a wrong place (a mouth on the nose of an old
face, a face on one eye): other starts are tried and the surest result is kept."""

OTHER_STARTS = ((0.0, 1.3), (0.15, 1.2), (0.0, 0.8), (-0.15, 1.2))
"""Shift along the face, in parts of the found square's side (down is positive), and change of size."""

MIDLINE = (0, 1, 2, 4, 5, 6, 8, 9, *range(10, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200)
"""FaceMesh's points that are their own mirror image."""


def _mirror() -> tuple[int, ...]:
    """Partner of each of the 478 points in the mirror: both halves of the face are numbered in the same order."""
    sides = [index for index in range(468) if index not in MIDLINE]
    right, left = sides[: len(sides) // 2], sides[len(sides) // 2 :]
    partner = {index: index for index in MIDLINE}
    pairs = [*zip(right, left, strict=True), (468, 473), (469, 476), (470, 475), (471, 474), (472, 477)]
    partner.update(pairs)
    partner.update((second, first) for first, second in pairs)
    return tuple(partner[index] for index in range(478))


MIRROR = _mirror()


class MediapipeDetector:
    """Faces and 478 landmarks by MediaPipe (weights inside its wheel, nothing is downloaded).

    A search from coarse to fine finds faces from 1 % of the photo's longer side up to faces that fill it. Each face's
    landmarks are found anew in a square around the landmarks before, at last also in its mirror image, whose mirrored
    landmarks are averaged in: this makes them steadier, and removes the network's small preference for one side.
    """

    kind: LandmarkKind = "mediapipe478"

    def __init__(
        self,
        *,
        min_face_px: float = 40.0,
        max_faces: int = 16,
        min_confidence: float = 0.5,
        passes: int = 3,
        max_levels: int = 4,
    ):
        """Remember the settings; the networks are loaded by the first call.

        Args:
            min_face_px: Smaller faces need not be found, pixels of the photo.
            max_faces: At most so many faces a photo: the largest.
            min_confidence: Least probability, by the landmark network, that there is a face.
            passes: How often the landmarks are found, each time around those before.
            max_levels: How often the search's tiles may be halved.

        Raises:
            ValueError: A setting makes no sense.
        """
        if passes < 1 or max_faces < 1 or max_levels < 0 or min_face_px <= 0 or not 0 <= min_confidence <= 1:
            raise ValueError(
                "passes and max_faces must be at least 1, max_levels at least 0, min_face_px above 0 and "
                f"min_confidence in [0, 1]; got {passes}, {max_faces}, {max_levels}, {min_face_px} and {min_confidence}"
            )
        self._min_face_px = min_face_px
        self._max_faces = max_faces
        self._min_confidence = min_confidence
        self._passes = passes
        self._max_levels = max_levels
        self._networks: tuple[FaceSearch, FaceMesh] | None = None
        self._lock = threading.Lock()

    def detect(self, image_srgb: UInt8[ndarray, "height width 3"]) -> list[DetectedFace]:
        """Return the faces of an upright photo, the largest first. May be called from several threads."""
        search, _ = self._load()
        photo = Pyramid(image_srgb)
        found = [self._face(photo, candidate) for candidate in search.find(photo)]
        found = [face for face in found if face.confidence >= self._min_confidence]
        faces: list[DetectedFace] = []
        for face in sorted(found, key=lambda face: (-face.confidence, -face.size_px, face.box_px)):
            if all(overlap(face.box_px, other.box_px) <= SAME_FACE_OVERLAP for other in faces):
                faces.append(face)
        faces.sort(key=lambda face: (-face.size_px, face.box_px))
        return faces[: self._max_faces]

    def _load(self) -> tuple[FaceSearch, FaceMesh]:
        with self._lock:
            if self._networks is None:
                self._networks = FaceSearch(self._min_face_px, self._max_levels), FaceMesh()
            return self._networks

    def _face(self, photo: Pyramid, candidate: Candidate) -> DetectedFace:
        """Find the landmarks of a candidate, from other starts where the first leads nowhere sure."""
        best = self._face_from(photo, candidate.square)
        for shift, scale in OTHER_STARTS:
            if not HOPELESS <= best.confidence < SURE:
                break
            best = max(
                best, self._face_from(photo, candidate.square.moved(shift, scale)), key=lambda face: face.confidence
            )
        return best

    def _face_from(self, photo: Pyramid, start: Square) -> DetectedFace:
        """Find the landmarks of a face from a square that has its size."""
        square = start.scaled(REGION_SCALE)
        for last in [False] * (self._passes - 1) + [True]:
            landmarks, confidence = self._landmarks(photo, square, mirrored_too=last)
            angle = angle_of_eyes(landmarks[RIGHT_EYE_OUTER], landmarks[LEFT_EYE_OUTER])
            square = square_around(landmarks[:468], angle, REGION_SCALE)
        return DetectedFace(landmarks, confidence, box_of(landmarks[:468]), self.kind)

    def _landmarks(
        self, photo: Pyramid, square: Square, *, mirrored_too: bool
    ) -> tuple[Float[ndarray, "478 2"], float]:
        """Landmarks of the face in a square, in pixels of the photo, and the probability that there is a face."""
        _, mesh = self._load()
        pixels = photo.cut(square, MESH_INPUT_PX, replicate_border=True)
        landmarks, confidence = mesh.landmarks(pixels)
        if mirrored_too:
            mirrored, other = mesh.landmarks(np.ascontiguousarray(pixels[:, ::-1]))
            back = mirrored[list(MIRROR)] * [-1, 1] + [MESH_INPUT_PX, 0]
            landmarks, confidence = (landmarks + back) / 2, (confidence + other) / 2
        return square.to_photo(landmarks, MESH_INPUT_PX), min(max(confidence, 0.0), 1.0)
