"""How well the textures of many faces lie upon each other: the sharpness of their mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from facealbedo.assets import load_face_model
from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.detect import MediapipeDetector
from facealbedo.core.detect.crop import FaceCrop, crop_face
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.landmarks import LandmarkBasis, LandmarkFit, fit_landmarks, landmark_basis
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.uv import bake_region, unwrap
from facealbedo.core.types import Landmarks
from facealbedo.dataloading.photos import list_photos


def fit_face(basis: LandmarkBasis, crop: FaceCrop) -> LandmarkFit:
    """Fit shape, pose and camera to a crop's landmarks."""
    landmarks = Landmarks(crop.landmarks_px[None], torch.ones(1))
    return fit_landmarks(basis, landmarks, crop.principal_px[None], (crop.side, crop.side))


def measure_sharpness(folder: Path, count: int = 60, resolution: int = 512) -> dict[str, Any]:
    """Unwrap faces from in front and average them; return how much of their gradients the mean keeps, a region.

    Gradients of faces that do not lie upon each other cancel in the mean. What is left when a thin-plate warp of each
    photo puts all landmarks exactly into place is the most that a better fit of the landmarks could reach.
    """
    model, detector = load_face_model(), MediapipeDetector()
    basis = landmark_basis(model)
    sums: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    used = 0
    photos = list_photos(folder)
    for photo in photos[:: max(1, len(photos) // (2 * count))]:
        decoded = decode_image(photo.path.read_bytes())
        faces = detector.detect(decoded.srgb)
        if not faces:
            continue
        crop = crop_face(decoded, faces[0])
        fit = fit_face(basis, crop)
        if used == count or abs(float(fit.yaw_degrees)) > 12 or float(fit.nme_percent) > 1.8:
            continue
        used += 1
        for name, image in (("fitted", crop.image), ("warped", _warped(crop, basis, fit))):
            new = _levelled(model, fit, image, resolution)
            old = sums.get(name)
            sums[name] = new if old is None else (old[0] + new[0], old[1] + new[1], old[2] + new[2])
    kept = {name: _kept_gradient(model, *maps, resolution) for name, maps in sums.items()}
    return {"faces": used, "gradient_of_mean_over_mean_gradient": kept}


def _warped(crop: FaceCrop, basis: LandmarkBasis, fit: LandmarkFit) -> Tensor:
    """Return the crop with its detected landmarks moved to where the fitted model has them."""
    found = fit.coefficients
    exact = replace(
        found, identity_coeffs=found.identity_coeffs.double(), expression_coeffs=found.expression_coeffs.double()
    )
    view = world_to_view(basis.decode(exact).float(), fit.pose)
    fitted = project(view, fit.camera)[0].double().numpy()
    inner = np.setdiff1d(np.arange(len(fitted)), list(basis.layout.oval))
    offset = crop.landmarks_px[: len(fitted)].double().numpy() - fitted
    spline = RBFInterpolator(fitted[inner], offset[inner], kernel="thin_plate_spline", neighbors=40)
    cells = 64
    line = (np.arange(cells) + 0.5) * crop.side / cells
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    limit = 0.05 * np.ptp(fitted[:, 0])
    shift = spline(grid).clip(-limit, limit).reshape(cells, cells, 2)
    coarse = torch.from_numpy(shift).float().permute(2, 0, 1)[None]
    flow = F.interpolate(coarse, size=(crop.side, crop.side), mode="bilinear")
    axis = torch.arange(crop.side) + 0.5
    place = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1) + flow[0].permute(1, 2, 0)
    return F.grid_sample(crop.image[None], (2 * place / crop.side - 1)[None], align_corners=False)[0]


def _levelled(model: FaceModel, fit: LandmarkFit, image: Tensor, resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a face's grey sRGB texture of mean 0.5 times its visibility, the visibility, and the gradient's size."""
    world = model.decode(fit.coefficients.identity_coeffs, fit.coefficients.expression_coeffs)
    view = world_to_view(world, fit.pose)
    fragments, _ = render_gbuffer(model, view, fit.camera)
    seen = unwrap(model, image[None], view, fit.camera, fragments, resolution)
    grey = linear_to_srgb(seen.uv_texture).mean(1, keepdim=True)
    visible = seen.uv_visibility
    grey = 0.5 * grey * visible.sum() / (grey * visible).sum().clamp(min=1e-6)
    return grey * visible, visible, _gradient(grey) * visible


def _gradient(grey: Tensor) -> Tensor:
    """Return the length of the forward differences; 0 in the last row and column."""
    across, down = grey.diff(dim=-1)[..., :-1, :], grey.diff(dim=-2)[..., :-1]
    return F.pad((across**2 + down**2).sqrt(), (0, 1, 0, 1))


def _kept_gradient(
    model: FaceModel, total: Tensor, seen: Tensor, gradients: Tensor, resolution: int
) -> dict[str, float]:
    """Return the gradient of the mean over the mean gradient, by region."""
    mean = total / seen.clamp(min=1e-6)
    kept = {}
    for name in ("lips", "lids", "brows", "nostrils", "nose"):
        place = bake_region(model, name, resolution)[None, None] * (seen > 0.5 * seen.max())
        kept[name] = float((_gradient(mean) * place).sum() / (gradients / seen.clamp(min=1e-6) * place).sum())
    return kept
