"""When a face is refused: one place for the limits and for the sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GateLimits:
    """Limits.

    Attributes:
        min_face_px: longer side of the landmarks' box, pixels of the photo.
        max_yaw_degrees: turn of the head to either side; near profile the far half of the landmarks is invented.
        max_nme_percent: error of the landmark fit.
    """

    min_face_px: float = 40.0
    max_yaw_degrees: float = 40.0
    max_nme_percent: float = 3.0


def size_objection(face_px: float, limits: GateLimits) -> str | None:
    """Return why a face of this size is refused, or None."""
    if face_px < limits.min_face_px:
        return f"the face is too small: {face_px:.0f} px, at least {limits.min_face_px:.0f} px are needed"
    return None


def fit_objection(yaw_degrees: float, nme_percent: float, limits: GateLimits) -> str | None:
    """Return why a fitted face is refused, or None."""
    if not (math.isfinite(yaw_degrees) and math.isfinite(nme_percent)):
        return "the face could not be fitted"
    if abs(yaw_degrees) > limits.max_yaw_degrees:
        return f"the head is turned too far: {abs(yaw_degrees):.0f} degrees, at most {limits.max_yaw_degrees:.0f}"
    if nme_percent > limits.max_nme_percent:
        return (
            f"the face model does not fit: landmark error {nme_percent:.1f} %, at most {limits.max_nme_percent:.1f} %"
            " (is it a face, whole and uncovered?)"
        )
    return None
