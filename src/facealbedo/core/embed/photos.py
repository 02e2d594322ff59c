"""Where landmarks lie on the face model, seen through fits to photos.

A fitted face tells which point of the surface is drawn where a landmark was found. Over many near-frontal photos the
median says where the landmark lies, free of the bias of painted renders; above all for the brows, which the mesh does
not have. While fitting, the brows neither pull nor move.

Distance and depth of a face are nearly interchangeable: a free camera distance lets the fits move closer and the
landmarks forward, pass after pass. So the distance is held near its prior's median here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.embed.backproject import BackprojectionConfig, back_project
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.landmarks import (
    LandmarkBasis,
    LandmarkFit,
    LandmarkFitConfig,
    fit_landmarks,
    landmark_basis,
)
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.types import Camera, Landmarks, Pose


@dataclass(frozen=True)
class PhotoPassConfig:
    """Which photos count, and how finely they are looked at.

    Args:
        max_yaw_degrees: turned further, a face does not count.
        max_nme_percent: fitted worse, it does not count.
        max_jaw_open: with the mouth further open, it does not count.
        distance_log_sigma: standard deviation of the logarithm of the camera's distance.
        size_px: the face is drawn into a square of this size.
    """

    max_yaw_degrees: float = 15.0
    max_nme_percent: float = 1.5
    max_jaw_open: float = 0.05
    distance_log_sigma: float = 0.03
    size_px: int = 840


@dataclass(frozen=True)
class DetectedPhoto:
    """What the photo pass needs to know of a photo: its landmarks (pixels) and its size."""

    landmarks_px: Float[np.ndarray, "landmark 2"]
    height: int
    width: int


def hits_in_photos(
    model: FaceModel, photos: Iterable[DetectedPhoto], config: PhotoPassConfig
) -> Iterator[Float[np.ndarray, "landmark 3"]]:
    """Yield, for each photo that counts, the points of the mean face that its landmarks lie on (metres, NaN: none)."""
    basis = without_brows(model)
    for photo in photos:
        fit = _fit(basis, photo, config.distance_log_sigma)
        jaw_open = fit.coefficients.expression_coeffs[0, model.expression_names.index("jawOpen")]
        good = (
            abs(float(fit.yaw_degrees)) < config.max_yaw_degrees
            and float(fit.nme_percent) < config.max_nme_percent
            and float(jaw_open) < config.max_jaw_open
        )
        if good:
            yield _back_project_photo(model, fit, photo, config)


def without_brows(model: FaceModel) -> LandmarkBasis:
    """Return the landmark basis with the brows' expression units still and their landmarks without weight."""
    basis = landmark_basis(model)
    expression, spread = basis.expression.clone(), basis.spread_mm.clone()
    expression[[i for i, name in enumerate(model.expression_names) if name.startswith("brow")]] = 0.0
    spread[list(basis.layout.brows)] = 1e3
    return replace(basis, expression=expression, spread_mm=spread)


def _fit(basis: LandmarkBasis, photo: DetectedPhoto, distance_log_sigma: float) -> LandmarkFit:
    points = torch.from_numpy(photo.landmarks_px)[None].double()
    landmarks = Landmarks(points, torch.ones(1, dtype=torch.float64))
    centre = torch.tensor([[0.5 * photo.width, 0.5 * photo.height]], dtype=torch.float64)
    config = LandmarkFitConfig(distance_log_sigma=distance_log_sigma)
    return fit_landmarks(basis, landmarks, centre, (photo.height, photo.width), config)


def _back_project_photo(
    model: FaceModel, fit: LandmarkFit, photo: DetectedPhoto, config: PhotoPassConfig
) -> Float[np.ndarray, "landmark 3"]:
    surface = photo.landmarks_px[: fit.landmarks_px.shape[1]]
    low = surface.min(axis=0)
    scale = config.size_px / (1.2 * float((surface.max(axis=0) - low).max()))
    offset = low - 0.1 * config.size_px / 1.2 / scale
    camera = Camera(
        focal_px=(fit.camera.focal_px * scale).float(),
        principal_px=((fit.camera.principal_px - _row(offset)) * scale).float(),
        height=config.size_px,
        width=config.size_px,
    )
    coefficients = fit.coefficients
    vertices = model.decode(coefficients.identity_coeffs.float(), coefficients.expression_coeffs.float())
    pose = Pose(fit.pose.rotation.float(), fit.pose.translation.float())
    view = world_to_view(vertices, pose)
    fragments = get_rasterizer("auto", model.device).rasterize(view, model.triangles, camera)
    return back_project(
        (surface - offset) * scale,
        fragments,
        model.mean.numpy().astype(np.float64),
        model.triangles.numpy(),
        model.n_atlas_triangles,
        BackprojectionConfig(),
    )


def _row(values: np.ndarray) -> Float[Tensor, "1 2"]:
    return torch.from_numpy(values)[None]
