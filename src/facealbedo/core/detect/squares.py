"""Turned squares cut out of a photo at any size, without aliasing and at the same cost in small and huge photos."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

# A level of the pyramid may be this much coarser than the cut, so that no level is read that is four times too fine.
_DENSITY_SLACK = 1.001


@dataclass(frozen=True)
class Square:
    """A square in a photo: its centre and side in pixels; its x axis is turned by ``angle`` (radians, y down)."""

    center_x: float
    center_y: float
    side: float
    angle: float = 0.0

    def scaled(self, factor: float) -> Square:
        """Return a square with the same centre and another side."""
        return Square(self.center_x, self.center_y, self.side * factor, self.angle)

    def moved(self, shift: float, factor: float) -> Square:
        """Return a square moved along its y axis by ``shift`` of its side, its side multiplied by ``factor``."""
        x, y = self.axes[1] * shift * self.side
        return Square(self.center_x + float(x), self.center_y + float(y), self.side * factor, self.angle)

    @cached_property
    def axes(self) -> Float[ndarray, "2 2"]:
        """Rows: the unit vectors of the square's x and y axis in the photo."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return np.array([[cosine, sine], [-sine, cosine]])

    def to_photo(self, points: Float[ndarray, "point 2"], size_px: float) -> Float[ndarray, "point 2"]:
        """Map points in pixels of the square, cut at ``size_px`` a side, to pixels of the photo."""
        centred = (points - size_px / 2) * (self.side / size_px)
        return centred @ self.axes + np.array([self.center_x, self.center_y])

    def bounding_box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the smallest upright box that holds the turned square."""
        reach = self.side / 2 * float(np.abs(self.axes[:, 0]).sum())
        return self.center_x - reach, self.center_y - reach, self.center_x + reach, self.center_y + reach


def square_around(points: Float[ndarray, "point 2"], angle: float, scale: float) -> Square:
    """Return the square around points.

    Args:
        points: What it shall hold, pixels of the photo.
        angle: Of the square's x axis, radians.
        scale: Side of the square over the longer side of the points' box along the square's axes.
    """
    axes = Square(0.0, 0.0, 1.0, angle).axes
    along = points @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    center = (low + high) / 2 @ axes
    return Square(float(center[0]), float(center[1]), float((high - low).max()) * scale, angle)


def angle_of_eyes(right_eye: Float[ndarray, "2"], left_eye: Float[ndarray, "2"]) -> float:
    """Return the angle (radians, y down) of the line from the subject's right to their left eye; 0 when level."""
    return math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])


class Pyramid:
    """A photo and halved copies of it, each made by averaging 2 x 2 pixels when it is first needed."""

    def __init__(self, image_srgb: UInt8[ndarray, "height width 3"]):
        self._levels = [np.ascontiguousarray(image_srgb)]
        self.height, self.width = (int(side) for side in image_srgb.shape[:2])

    def cut(
        self, square: Square, size_px: int, *, replicate_border: bool = False
    ) -> UInt8[ndarray, "size_px size_px 3"]:
        """Cut a square out of the photo.

        Args:
            square: Which; parts outside the photo are black or repeat the photo's border.
            size_px: Side of the result, pixels.
            replicate_border: Repeat the border pixels of the photo outside of it.
        """
        level = self._level(square.side / size_px)
        density = np.array([level.shape[1] / self.width, level.shape[0] / self.height])
        # Pixel (i, j) of the result, counted from centre to centre as OpenCV does, to a pixel of the level.
        matrix = square.axes.T * (square.side / size_px) * density[:, None]
        corner = square.to_photo(np.array([[0.5, 0.5]]), size_px)[0] * density - 0.5
        left, top, right, bottom = self._window(square, level, density)
        if right <= left or bottom <= top:
            return np.zeros((size_px, size_px, 3), np.uint8)
        window = level[top:bottom, left:right]
        shrink = float(np.sqrt(abs(np.linalg.det(matrix))))
        if shrink > 1:
            # The rest of the way to the result's density, less than a factor of two, by averaging areas.
            size = (max(1, round(window.shape[1] / shrink)), max(1, round(window.shape[0] / shrink)))
            factor = np.array(size) / [window.shape[1], window.shape[0]]
            window = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
        else:
            factor = np.ones(2)
        offset = (corner + 0.5 - [left, top]) * factor - 0.5
        return cv2.warpAffine(
            window,
            np.column_stack([matrix * factor[:, None], offset]),
            (size_px, size_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE if replicate_border else cv2.BORDER_CONSTANT,
        )

    def _level(self, shrink: float) -> UInt8[ndarray, "height width 3"]:
        """The coarsest copy that is still as fine as a cut that makes the photo ``shrink`` times smaller."""
        index = max(0, math.floor(math.log2(max(shrink * _DENSITY_SLACK, 1.0))))
        while len(self._levels) <= index and min(self._levels[-1].shape[:2]) >= 2:
            last = self._levels[-1]
            size = (last.shape[1] // 2, last.shape[0] // 2)
            self._levels.append(cv2.resize(last, size, interpolation=cv2.INTER_AREA))
        return self._levels[min(index, len(self._levels) - 1)]

    @staticmethod
    def _window(square: Square, level: ndarray, density: Float[ndarray, "2"]) -> tuple[int, int, int, int]:
        """The part of a level that a square reads, with a margin for interpolation."""
        left, top, right, bottom = square.bounding_box()
        margin = 4
        return (
            max(0, math.floor(left * density[0]) - margin),
            max(0, math.floor(top * density[1]) - margin),
            min(level.shape[1], math.ceil(right * density[0]) + margin),
            min(level.shape[0], math.ceil(bottom * density[1]) + margin),
        )
