"""MediaPipe's face networks, wrapped so that nothing of its own types, threads or messages gets out.

The weights lie inside MediaPipe's wheel (Apache-2.0). MediaPipe's legacy API carries the landmark network only behind
its own short-range detector, and samples large photos without prefiltering. Here the network's subgraph runs alone, on
a square that the caller has cut out.
"""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

MESH_INPUT_PX = 192
"""Side of the landmark network's input."""

FINDER_INPUT_PX = 192
"""Side of the images given to the face finders: the input of the full-range one; the short-range one uses 128."""

N_LANDMARKS = 478

_MESH_GRAPH = """
input_stream: "image"
input_stream: "region"
input_side_packet: "with_attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:region"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
_PRESENCE_STREAM = "facelandmarkcpu__face_presence_score"

# What TensorFlow Lite says on standard error when a network is first used cannot be turned off, only caught.
_standard_error_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face as a finder sees it, in pixels of the image that it was given.

    Attributes:
        score: The finder's own score in [0, 1].
        box_px: Left, top, right, bottom: about from brows to chin.
        eyes_px: The subject's right eye and left eye.
    """

    score: float
    box_px: tuple[float, float, float, float]
    eyes_px: Float[ndarray, "2 2"]


class FaceFinder:
    """MediaPipe's face detection: coarse places of faces.

    On 192 pixels the full-range network finds faces 14 to 128 pixels wide, the short-range one from 24 pixels up to
    faces that fill the image.
    """

    def __init__(self, *, full_range: bool, min_score: float = 0.5):
        solutions = _mediapipe()
        self._lock = threading.Lock()
        with _quiet():
            self._solution = solutions.face_detection.FaceDetection(
                model_selection=int(full_range), min_detection_confidence=min_score
            )
            self._solution.process(np.zeros((FINDER_INPUT_PX, FINDER_INPUT_PX, 3), np.uint8))

    def find(self, image_srgb: UInt8[ndarray, "height width 3"]) -> list[FoundFace]:
        """Return the faces of an image, in the network's order."""
        height, width = image_srgb.shape[:2]
        with self._lock, _without_deprecations():
            detections = self._solution.process(np.ascontiguousarray(image_srgb)).detections or []
        return [_found(detection, width, height) for detection in detections]


class FaceMesh:
    """MediaPipe's FaceMesh with attention: 478 landmarks of one face."""

    def __init__(self) -> None:
        _mediapipe()
        base = importlib.import_module("mediapipe.python.solution_base")
        rect = importlib.import_module("mediapipe.framework.formats.rect_pb2")
        self._lock = threading.Lock()
        self._whole = rect.NormalizedRect(x_center=0.5, y_center=0.5, width=1.0, height=1.0, rotation=0.0)
        with _quiet():
            self._graph = base.SolutionBase(
                graph_config=_MESH_GRAPH,
                side_inputs={"with_attention": True},
                outputs=["landmarks", _PRESENCE_STREAM],
                # Landmarks always come; what to do with a low presence is the caller's decision.
                calculator_params={"facelandmarkcpu__ThresholdingCalculator.threshold": -1.0},
            )
            self.landmarks(np.zeros((MESH_INPUT_PX, MESH_INPUT_PX, 3), np.uint8))

    def landmarks(self, square_srgb: UInt8[ndarray, "192 192 3"]) -> tuple[Float[ndarray, "478 2"], float]:
        """Return the landmarks of the face in a square, in its pixels, and the probability that there is a face.

        Args:
            square_srgb: An upright face; the square's side is about 1.5 times the face's.
        """
        with self._lock, _without_deprecations():
            output = self._graph.process({"image": np.ascontiguousarray(square_srgb), "region": self._whole})
        points = np.array([(point.x, point.y) for point in output.landmarks.landmark])
        return points * MESH_INPUT_PX, float(getattr(output, _PRESENCE_STREAM))


def _found(detection: Any, width: int, height: int) -> FoundFace:
    box = detection.location_data.relative_bounding_box
    points = detection.location_data.relative_keypoints
    eyes = np.array([(point.x * width, point.y * height) for point in points[:2]])
    left, top = box.xmin * width, box.ymin * height
    return FoundFace(
        score=float(detection.score[0]),
        box_px=(left, top, left + box.width * width, top + box.height * height),
        eyes_px=eyes,
    )


@lru_cache(maxsize=1)
def _mediapipe() -> Any:
    """Import MediaPipe's solutions when they are first needed: it takes more than a second."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet():
        # The modules below register the message types of the graphs' options.
        importlib.import_module("mediapipe.python.solutions.face_mesh")
        importlib.import_module("mediapipe.python.solutions.face_detection")
        return importlib.import_module("mediapipe.python.solutions")


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """Hide protobuf's warning about MediaPipe's use of it, of which the caller can do nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype", category=UserWarning)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Send standard error, also of C++ code, to nowhere for a moment."""
    with _standard_error_lock, _without_deprecations():
        try:
            saved = os.dup(2)
        except OSError:  # a process without standard error
            yield
            return
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(sink)
            os.close(saved)
