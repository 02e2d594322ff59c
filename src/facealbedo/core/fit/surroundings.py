"""Colours beside the skin that say something about the light: the eye white, and what stands around the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from facealbedo.core.fit.tone_features import Surroundings

# MediaPipe's rings of the lids, in order around each eye, and the irises (centre, then four points of the border).
_LID_RINGS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_IRISES = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
_MEDIAPIPE_POINTS = 478


@dataclass(frozen=True)
class SurroundingsConfig:
    """When colours beside the skin are believed.

    Attributes:
        min_eye_pixels: least eye white in each eye, pixels.
        max_eye_difference: largest difference of the eyes' log luminance.
        max_yaw_degrees: beyond this turn one eye lies in its own shadow.
        face_margin: how far from the face the background begins, as a part of the picture's side.
        min_background_pixels: least background, pixels.
    """

    min_eye_pixels: int = 25
    max_eye_difference: float = 0.45
    max_yaw_degrees: float = 25.0
    face_margin: float = 0.03
    min_background_pixels: int = 200


def measure_surroundings(
    image: Float[Tensor, "3 height width"],
    valid: Bool[Tensor, "height width"],
    face_coverage: Bool[Tensor, "height width"],
    landmarks_px: Float[Tensor, "landmark 2"],
    yaw_degrees: float,
    config: SurroundingsConfig | None = None,
) -> Surroundings:
    """Measure eye white and background of one picture.

    Args:
        image: linear RGB.
        valid: where the image holds photo.
        face_coverage: where the fitted head covers the picture.
        landmarks_px: in pixels of the image; the eye white needs MediaPipe's 478.
        yaw_degrees: of the head.
        config: gates.

    Returns:
        A batch of one; reliability 0 where a gate was not passed.
    """
    settings = config or SurroundingsConfig()
    pixels = image.permute(1, 2, 0).cpu().numpy()
    whole = valid.cpu().numpy()
    eye = None
    if len(landmarks_px) == _MEDIAPIPE_POINTS and abs(yaw_degrees) <= settings.max_yaw_degrees:
        eye = _eye_white(pixels, whole, landmarks_px.cpu().numpy(), settings)
    around = _background(pixels, whole, face_coverage.cpu().numpy(), settings)
    nothing = np.zeros(3, np.float32)
    return Surroundings(
        eye_white=_row(nothing if eye is None else eye, image),
        eye_white_reliability=image.new_tensor([float(eye is not None)]),
        background=_row(nothing if around is None else around, image),
        background_reliability=image.new_tensor([float(around is not None)]),
    )


def _row(colour: ndarray, like: Tensor) -> Float[Tensor, "1 3"]:
    return torch.from_numpy(np.asarray(colour, np.float32)).to(like)[None]


def _eye_white(
    pixels: ndarray, valid: ndarray, landmarks: ndarray, settings: SurroundingsConfig
) -> Float[ndarray, "3"] | None:
    """Return the mean colour of both eyes' white, or None when they are too small, hidden or disagree."""
    colours = []
    for ring, iris in zip(_LID_RINGS, _IRISES, strict=True):
        opening: ndarray = np.zeros(pixels.shape[:2], np.uint8)
        cv2.fillPoly(opening, [np.round(landmarks[list(ring)] - 0.5).astype(np.int32)], 1)
        opening = np.asarray(cv2.erode(opening, np.ones((3, 3), np.uint8)))
        centre = landmarks[iris[0]]
        radius = float(np.linalg.norm(landmarks[list(iris[1:])] - centre, axis=1).mean()) * 1.2
        cv2.circle(opening, tuple(round(float(value)) for value in centre - 0.5), max(1, int(np.ceil(radius))), 0, -1)
        white = pixels[(opening > 0) & valid]
        if len(white) < settings.min_eye_pixels:
            return None
        # The dark half is lashes, lid shadow and vessels.
        level = white.mean(1)
        bright = white[level >= np.median(level)]
        if (bright.max(1) > 0.97).mean() > 0.2:
            return None
        colours.append(np.median(bright, axis=0))
    first, second = (np.log(np.maximum(colour.mean(), 1e-4)) for colour in colours)
    if abs(first - second) > settings.max_eye_difference:
        return None
    return np.asarray(np.mean(colours, axis=0), np.float32)


def _background(
    pixels: ndarray, valid: ndarray, coverage: ndarray, settings: SurroundingsConfig
) -> Float[ndarray, "3"] | None:
    margin = max(3, int(settings.face_margin * max(pixels.shape[:2]))) | 1
    near = cv2.dilate(coverage.astype(np.uint8), np.ones((margin, margin), np.uint8)) > 0
    around = pixels[valid & ~near]
    if len(around) < settings.min_background_pixels:
        return None
    return np.asarray(around.mean(0), np.float32)
