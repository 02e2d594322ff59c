"""Numbers that say how good a landmark fit is. What is good enough is decided elsewhere (`core.detect.gates`)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.landmark_groups import IBUG_INNER_LIPS, MEDIAPIPE478, MEDIAPIPE_INNER_LIPS, layout_of
from facealbedo.core.fit.landmarks import LandmarkFit
from facealbedo.core.geometry.projection import rotate_to_view, world_to_view
from facealbedo.core.types import TensorRecord


@dataclass(frozen=True)
class FitQuality(TensorRecord):
    """One number a face for each question. Errors are in percent of `landmarks.landmark_scale`.

    Attributes:
        nme_percent: Mean landmark error without the oval.
        oval_error_percent, lips_error_percent, eyelids_error_percent, brows_error_percent, nose_error_percent,
            other_error_percent: Mean error of each group.
        yaw_degrees, pitch_degrees, roll_degrees: Turn of the head.
        distance_m: Depth of the face's middle; far from the prior's 0.65 m the shape is doubtful.
        scale_px: Size of the face, about its inter-ocular distance.
        visible_fraction: Part of the landmarks on skin that faces the camera and lies inside the image.
        identity_rms: Root mean square of the identity coefficients; real faces have about 0.5, caricatures 1.
        converged: The fit came to rest.
        iterations: Trial steps made.
    """

    nme_percent: Float[Tensor, "batch"]
    oval_error_percent: Float[Tensor, "batch"]
    lips_error_percent: Float[Tensor, "batch"]
    eyelids_error_percent: Float[Tensor, "batch"]
    brows_error_percent: Float[Tensor, "batch"]
    nose_error_percent: Float[Tensor, "batch"]
    other_error_percent: Float[Tensor, "batch"]
    yaw_degrees: Float[Tensor, "batch"]
    pitch_degrees: Float[Tensor, "batch"]
    roll_degrees: Float[Tensor, "batch"]
    distance_m: Float[Tensor, "batch"]
    scale_px: Float[Tensor, "batch"]
    visible_fraction: Float[Tensor, "batch"]
    identity_rms: Float[Tensor, "batch"]
    converged: Bool[Tensor, "batch"]
    iterations: Int[Tensor, "batch"]

    def rows(self) -> list[dict[str, float | int | bool]]:
        """Return the numbers as one flat dictionary a face, for tables and reports."""
        columns = {field.name: getattr(self, field.name).tolist() for field in fields(self)}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def measure_fit(model: FaceModel, fit: LandmarkFit) -> FitQuality:
    """Return how good each fit of a batch is."""
    layout = layout_of(fit.landmarks_px.shape[1])
    errors = 100 * torch.linalg.vector_norm(fit.residuals_px, dim=-1) / fit.scale_px[:, None]
    by_group = {f"{name}_error_percent": errors[:, list(group)].mean(dim=1) for name, group in layout.groups.items()}
    return FitQuality(
        **by_group,
        nme_percent=fit.nme_percent,
        yaw_degrees=fit.yaw_degrees,
        pitch_degrees=fit.pitch_degrees,
        roll_degrees=fit.roll_degrees,
        distance_m=fit.distance_m,
        scale_px=fit.scale_px,
        visible_fraction=visible_landmarks(model, fit).to(errors.dtype).mean(dim=1),
        identity_rms=fit.coefficients.identity_coeffs.square().mean(dim=1).sqrt(),
        converged=fit.converged,
        iterations=fit.iterations,
    )


def visible_landmarks(model: FaceModel, fit: LandmarkFit) -> Bool[Tensor, "batch landmark"]:
    """Say which landmarks of the skin face the camera and lie inside the image.

    Occlusion by another part of the face (the far cheek behind the nose) or by another object is not looked at.
    """
    layout = layout_of(fit.landmarks_px.shape[1])
    coefficients = fit.coefficients
    dtype = model.mean.dtype
    vertices = model.decode(coefficients.identity_coeffs.to(dtype), coefficients.expression_coeffs.to(dtype))
    normals = model.landmarks(model.normals(vertices), layout.kind)[:, : layout.n_surface].to(fit.landmarks_px)
    points = model.landmarks(vertices, layout.kind)[:, : layout.n_surface].to(fit.landmarks_px)
    facing = (rotate_to_view(normals, fit.pose) * world_to_view(points, fit.pose)).sum(dim=-1) < 0
    x, y = fit.landmarks_px.unbind(dim=-1)
    inside = (x >= 0) & (y >= 0) & (x <= fit.camera.width) & (y <= fit.camera.height)
    return facing & inside


def inside_outline(
    coverage: Bool[Tensor, "batch height width"], fit: LandmarkFit, errors: float = 2.0
) -> Float[Tensor, "batch 1 height width"]:
    """Return 1 where the head's outline is farther away than the fit errs, 0 nearer to it and on the background.

    The outline is uncertain by as much as landmarks are. Of a head in profile it runs along nose and lips, where a
    strip of the background would be taken for skin.

    Args:
        coverage: where the fitted head covers the picture.
        fit: of the same faces.
        errors: width of the uncertain strip, as a multiple of the mean landmark error.
    """
    margins = errors * fit.nme_percent / 100 * fit.scale_px
    heads = coverage.cpu().numpy().astype(np.uint8)
    far = [cv2.distanceTransform(head, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for head in heads]
    distance = torch.from_numpy(np.stack(far)).to(coverage.device)
    return (distance > margins.to(distance)[:, None, None]).float()[:, None]


def outside_mouth(
    landmarks_px: Float[Tensor, "landmark 2"], fit: LandmarkFit, height: int, width: int
) -> Float[Tensor, "1 1 height width"]:
    """Return 0 where an open mouth shows teeth, tongue or darkness, and as far around it as the fit errs; 1 elsewhere.

    Args:
        landmarks_px: as detected, of one face.
        fit: of the same face.
        height: of the picture, pixels.
        width: the same.
    """
    kind = layout_of(len(landmarks_px)).kind
    border = MEDIAPIPE_INNER_LIPS if kind == MEDIAPIPE478.kind else IBUG_INNER_LIPS
    polygon = np.round(landmarks_px[list(border)].cpu().numpy() - 0.5).astype(np.int32)
    opening: np.ndarray = np.zeros((height, width), np.uint8)
    cv2.fillPoly(opening, [polygon], 1)
    margin = max(1, round(float(fit.nme_percent[0] / 100 * fit.scale_px[0])))
    # Closed lips have no opening: a line between them goes.
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    opening = np.asarray(cv2.dilate(cv2.morphologyEx(opening, cv2.MORPH_OPEN, disc), disc))
    return torch.from_numpy(1 - opening).to(landmarks_px)[None, None]
