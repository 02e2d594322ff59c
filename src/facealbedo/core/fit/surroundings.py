"""Colours beside the skin that say something about the light: the eye white, and what stands around the face."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from facealbedo.core.fit.tone_features import DARKEST, Surroundings

# MediaPipe's rings of the lids, in order around each eye, and the irises (centre, then four points of the border).
_LID_RINGS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_IRISES = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))
_MEDIAPIPE_POINTS = 478
# Places in a ring of the eye's corners, and of the points above and below its middle.
_CORNERS = (0, 8)
_LOWER_MIDDLE, _UPPER_MIDDLE = [3, 4, 5], [11, 12, 13]


@dataclass(frozen=True)
class SurroundingsConfig:
    """When colours beside the skin are believed.

    Attributes:
        min_eye_pixels: least eye white in each eye, pixels.
        max_eye_difference: of the eyes' log luminance; the white is believed less the more they differ, and from here
            on not at all.
        max_yaw_degrees: beyond this turn one eye lies in its own shadow.
        paler: share of an eye's white that counts, the least red; the rest is vessels, lid and lashes.
        brighter: share of that, the brightest, whose median is taken; the rest lies in the lashes' shade.
        narrow_log: log of lid gap over eye width below which lids shade the white more than usually.
        narrow_slope: by how much the white's log luminance falls with the log opening below that, as it does in photos
            whose skin, lips and fitted light are alike.
        closed_log: log opening below which an eye counts as closed.
        face_margin: how far from the face the background begins, as a part of the picture's side.
        min_background_pixels: least background, pixels.
    """

    min_eye_pixels: int = 12
    max_eye_difference: float = 0.8
    max_yaw_degrees: float = 30.0
    paler: float = 0.6
    brighter: float = 0.15
    narrow_log: float = -1.1
    narrow_slope: float = 2.0
    closed_log: float = -2.2
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
    nothing: ndarray = np.zeros(3, np.float32)
    white, agreement = eye or (nothing, 0.0)
    return Surroundings(
        eye_white=_row(white, image),
        eye_white_reliability=image.new_tensor([agreement]),
        background=_row(nothing if around is None else around, image),
        background_reliability=image.new_tensor([float(around is not None)]),
    )


def _row(colour: ndarray, like: Tensor) -> Float[Tensor, "1 3"]:
    return torch.from_numpy(np.asarray(colour, np.float32)).to(like)[None]


def _eye_white(
    pixels: ndarray, valid: ndarray, landmarks: ndarray, settings: SurroundingsConfig
) -> tuple[Float[ndarray, "3"], float] | None:
    """Return the colour of the eyes' white, as between usually open lids, and how well both eyes agree (0 to 1).

    None when they are too small, hidden, closed, burnt out, or disagree.
    """
    logs, openings = [], []
    for ring, iris in zip(_LID_RINGS, _IRISES, strict=True):
        lids, centre = landmarks[list(ring)], landmarks[iris[0]]
        radius = 1.1 * float(np.linalg.norm(landmarks[list(iris[1:])] - centre, axis=1).mean())
        white = pixels[_between_lids(lids, centre, radius, pixels.shape[:2]) & valid]
        if len(white) < settings.min_eye_pixels:
            return None
        level = _palest_level(white, settings)
        if level is None:
            return None
        logs.append(level)
        openings.append(_log_opening(lids))
    first, second = (float(np.log(np.exp(colour).mean())) for colour in logs)
    agreement = 1 - abs(first - second) / settings.max_eye_difference
    if agreement <= 0 or min(openings) < settings.closed_log:
        return None
    narrow = min(float(np.mean(openings)) - settings.narrow_log, 0.0)
    colour = np.exp(np.mean(logs, axis=0) - settings.narrow_slope * narrow)
    return np.asarray(colour, np.float32), agreement


def _between_lids(
    lids: Float[ndarray, "lid 2"], centre: Float[ndarray, "2"], radius: float, shape: tuple[int, ...]
) -> Bool[ndarray, "height width"]:
    """Return where the white is: between the lids, but for their borders and the iris."""
    opening: ndarray = np.zeros(shape, np.uint8)
    cv2.fillPoly(opening, [np.round(lids - 0.5).astype(np.int32)], 1)
    border = 2 * max(1, int(0.04 * _width(lids))) + 1
    opening = np.asarray(cv2.erode(opening, np.ones((border, border), np.uint8)))
    cv2.circle(opening, tuple(round(float(value)) for value in centre - 0.5), max(1, int(np.ceil(radius))), 0, -1)
    return opening > 0


def _palest_level(white: Float[ndarray, "pixel 3"], settings: SurroundingsConfig) -> Float[ndarray, "3"] | None:
    """Return the log colour of an eye's white from its pixels; None where it is burnt out."""
    logs = np.log(np.maximum(white, DARKEST))
    redness = logs[:, 0] - logs[:, 1]
    pale = logs[redness <= np.quantile(redness, settings.paler)]
    level = np.exp(pale).mean(1)
    bright = pale[level >= np.quantile(level, 1 - settings.brighter)]
    if (bright.max(1) > np.log(0.97)).mean() > 0.2:
        return None
    return np.asarray(np.median(bright, axis=0))


def _log_opening(lids: Float[ndarray, "lid 2"]) -> float:
    """Log of the gap between the lids over the eye's width."""
    lower, upper = lids[_LOWER_MIDDLE].mean(0), lids[_UPPER_MIDDLE].mean(0)
    gap = float(np.linalg.norm(lower - upper))
    return float(np.log(max(gap / max(_width(lids), 1e-6), 1e-2)))


def _width(lids: Float[ndarray, "lid 2"]) -> float:
    """Distance of the eye's corners."""
    return float(np.linalg.norm(lids[_CORNERS[0]] - lids[_CORNERS[1]]))


def _background(
    pixels: ndarray, valid: ndarray, coverage: ndarray, settings: SurroundingsConfig
) -> Float[ndarray, "3"] | None:
    margin = max(3, int(settings.face_margin * max(pixels.shape[:2]))) | 1
    near = cv2.dilate(coverage.astype(np.uint8), np.ones((margin, margin), np.uint8)) > 0
    around = pixels[valid & ~near]
    if len(around) < settings.min_background_pixels:
        return None
    return np.asarray(around.mean(0), np.float32)
