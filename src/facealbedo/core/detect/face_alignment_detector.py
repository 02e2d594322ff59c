"""68 landmarks by the package face-alignment, inside faces that MediaPipe finds.

The package's network (2D-FAN-4, Bulat and Tzimiropoulos, ICCV 2017) is downloaded by it at first use, or found in
``$TORCH_HOME/hub/checkpoints``. Nothing else of the package needs weights: its own face detector is not used.
"""

from __future__ import annotations

import threading
import warnings
from pickle import UnpicklingError
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from facealbedo.core.detect.detector import DetectedFace, DetectorError, LandmarkKind, box_of
from facealbedo.core.detect.mediapipe_detector import MediapipeDetector

WEIGHTS_FILE = "2DFAN4-11f355bf06.pth.tar"
# The network was trained on boxes that reach from above the brows to the chin; MediaPipe's points reach higher.
_TOP_CUT = 0.08


class FaceAlignmentDetector:
    """Faces by MediaPipe, 68 landmarks (300-W) by face-alignment."""

    kind: LandmarkKind = "ibug68"

    def __init__(self, *, min_face_px: float = 40.0, max_faces: int = 16, device: str = "cpu"):
        """Remember the settings; the networks are loaded by the first call.

        Args:
            min_face_px: smaller faces need not be found, pixels of the photo.
            max_faces: at most so many faces a photo: the largest.
            device: where the landmark network runs.
        """
        self._finder = MediapipeDetector(min_face_px=min_face_px, max_faces=max_faces)
        self._device = device
        self._network: Any = None
        self._lock = threading.Lock()

    def detect(self, image_srgb: UInt8[ndarray, "height width 3"]) -> list[DetectedFace]:
        """Return the faces of an upright photo, the largest first.

        Raises:
            DetectorError: the network's weights are not there and cannot be downloaded, or are damaged.
        """
        faces = self._finder.detect(image_srgb)
        if not faces:
            return []
        network = self._load()
        boxes = [_network_box(face) for face in faces]
        found = network.get_landmarks_from_image(image_srgb, detected_faces=boxes)
        # The network's heat maps count pixels from their centres; ours are at +0.5.
        points = [np.asarray(landmarks, np.float64)[:, :2] + 0.5 for landmarks in found]
        return [
            DetectedFace(landmarks, face.confidence, box_of(landmarks), "ibug68")
            for landmarks, face in zip(points, faces, strict=True)
        ]

    def _load(self) -> Any:
        with self._lock:
            if self._network is None:
                self._network = _load_network(self._device)
            return self._network


def _network_box(face: DetectedFace) -> list[float]:
    left, top, right, bottom = face.box_px
    return [left, top + _TOP_CUT * (bottom - top), right, bottom, 1.0]


def _load_network(device: str) -> Any:
    import face_alignment  # noqa: PLC0415 - slow to import, and not needed by most runs

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device=device, face_detector="folder", compile=False
            )
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
        raise DetectorError(
            f"the weights of face-alignment ({WEIGHTS_FILE}) could not be loaded: {error}. They are downloaded at first"
            " use; without a network put the file into $TORCH_HOME/hub/checkpoints, or use detector=mediapipe"
        ) from error
