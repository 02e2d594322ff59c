"""How well the textures of many faces lie upon each other: the sharpness of their mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from facealbedo.assets import load_face_model
from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.detect import MediapipeDetector
from facealbedo.core.detect.crop import FaceCrop, crop_face
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.glasses import landmarks_in_atlas
from facealbedo.core.fit.landmark_groups import MEDIAPIPE478
from facealbedo.core.fit.landmarks import LandmarkBasis, LandmarkFit, fit_landmarks, landmark_basis
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.uv import unwrap
from facealbedo.core.types import Landmarks
from facealbedo.dataloading.photos import list_photos

# Group of landmarks, and how far a box reaches: rows, then columns, as parts of the group's bounding box.
_BOXES = {
    "eyes": ("eyelids", ((-1.02, 1.43), (-0.05, 1.07))),
    "lips": ("lips", ((-0.17, 1.25), (-0.12, 1.08))),
    "brows": ("brows", ((-0.25, 1.12), (-0.02, 1.01))),
    "nose": ("nose", ((0.63, 1.04), (-0.03, 1.07))),
}
STUDY = {
    "portraits": {
        "fitted": {"eyes": 0.743, "lips": 0.931, "nose": 1.099, "brows": 0.531},
        "warped": {"eyes": 0.754, "lips": 0.956, "nose": 1.137, "brows": 0.565},
    },
    "crops": {
        "fitted": {"eyes": 0.835, "lips": 1.063, "nose": 0.975, "brows": 0.537},
        "warped": {"eyes": 0.897, "lips": 1.066, "nose": 1.017, "brows": 0.578},
    },
}
"""What the feasibility study's own scripts print for 60 faces of the same folders: its fit and its atlas."""


def fit_face(basis: LandmarkBasis, crop: FaceCrop) -> LandmarkFit:
    """Fit shape, pose and camera to a crop's landmarks."""
    landmarks = Landmarks(crop.landmarks_px[None], torch.ones(1))
    return fit_landmarks(basis, landmarks, crop.principal_px[None], (crop.side, crop.side))


def measure_sharpness(folder: Path, count: int = 60, resolution: int = 512) -> dict[str, Any]:
    """Unwrap faces from in front, lips closed, and average them; return how much of their gradients the mean keeps.

    Gradients of faces that do not lie upon each other cancel in the mean. What is left when a thin-plate warp of each
    photo puts all landmarks exactly into place is the most that a better fit of the landmarks could reach.
    """
    model, detector = load_face_model(), MediapipeDetector()
    basis = landmark_basis(model)
    means = {name: MeanTexture(resolution) for name in ("fitted", "warped")}
    photos = list_photos(folder)
    for number in np.random.default_rng(1).permutation(len(photos)):
        decoded = decode_image(photos[number].path.read_bytes())
        faces = detector.detect(decoded.srgb)
        crop = crop_face(decoded, faces[0]) if faces else None
        fit = fit_face(basis, crop) if crop else None
        if crop is None or fit is None or not _is_chosen(model, fit):
            continue
        means["fitted"].add(*_unwrapped(model, fit, crop.image, resolution))
        means["warped"].add(*_unwrapped(model, fit, _warped(crop, basis, fit), resolution))
        if means["fitted"].faces == count:
            break
    boxes = feature_boxes(landmarks_in_atlas(model, resolution))
    kept = {name: mean.kept_gradient(boxes) for name, mean in means.items()}
    return {"faces": means["fitted"].faces, "gradient_of_mean_over_mean_gradient": kept}


def _is_chosen(model: FaceModel, fit: LandmarkFit) -> bool:
    """Say whether a face is seen from in front, fits and keeps its lips closed, as the study chose."""
    jaw = float(fit.coefficients.expression_coeffs[0, list(model.expression_names).index("jawOpen")])
    return abs(float(fit.yaw_degrees)) < 12 and float(fit.nme_percent) < 1.8 and jaw < 0.08


class MeanTexture:
    """The mean of textures, and of their gradients, by the study's recipe: 8-bit grey values, Sobel's operator."""

    def __init__(self, resolution: int) -> None:
        """Start without a face."""
        self.faces = 0
        self._colour = np.zeros((resolution, resolution, 3), np.float32)
        self._seen = np.zeros((resolution, resolution, 1), np.float32)
        self._gradient = np.zeros((resolution, resolution), np.float32)

    def add(self, texture: Float[np.ndarray, "side side 3"], seen: Float[np.ndarray, "side side"]) -> None:
        """Add a texture, sRGB of any scale, brought to the mean 120 of 255 in each channel where it is seen."""
        weight = seen[..., None]
        level = 120 * texture * weight.sum() / (texture * weight).sum((0, 1)).clip(1e-6)
        self._colour += level * weight
        self._seen += weight
        self._gradient += _gradient(level) * seen
        self.faces += 1

    @property
    def srgb8(self) -> UInt8[np.ndarray, "side side 3"]:
        """The mean where anything is seen, black elsewhere."""
        return np.asarray((self._colour / self._seen.clip(1e-6)).clip(0, 255), np.uint8)

    def kept_gradient(self, boxes: dict[str, tuple[slice, slice]]) -> dict[str, dict[str, float]]:
        """Return the mean's gradient over the mean gradient, by box.

        ``study`` is the study's own figure: it counts the hard borders of holes (eyes, nostrils, between the lips),
        where few textures are seen. ``seen`` leaves them out.
        """
        of_mean = _gradient(self.srgb8.astype(np.float32))
        common = (self._seen[..., 0] > 0.5 * self._seen.max()).astype(np.uint8)
        common = np.asarray(cv2.erode(common, np.ones((5, 5), np.uint8)), np.float32)
        each = self._gradient / self._seen[..., 0].clip(1e-6)
        return {
            name: {
                "study": float(of_mean[box].mean() / (self._gradient[box].mean() / self.faces)),
                "seen": float((of_mean * common)[box].sum() / (each * common)[box].sum()),
            }
            for name, box in boxes.items()
        }


def _gradient(level: Float[np.ndarray, "side side 3"]) -> Float[np.ndarray, "side side"]:
    grey = cv2.cvtColor(level.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return np.hypot(across, down)


def feature_boxes(landmarks: Float[np.ndarray, "landmark 2"]) -> dict[str, tuple[slice, slice]]:
    """Return the study's boxes around features: rows and columns, from landmarks in texels of a texture.

    The study gave them in its own atlas; here they stand relative to the landmarks that they enclose.
    """
    boxes = {}
    for name, (group, margins) in _BOXES.items():
        points = landmarks[list(MEDIAPIPE478.groups[group])]
        low, size = points.min(0)[::-1], np.ptp(points, axis=0)[::-1]
        edges = np.round(low[:, None] + size[:, None] * np.array(margins)).astype(int)
        boxes[name] = (slice(*edges[0]), slice(*edges[1]))
    return boxes


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


def _unwrapped(
    model: FaceModel, fit: LandmarkFit, image: Tensor, resolution: int
) -> tuple[Float[np.ndarray, "side side 3"], Float[np.ndarray, "side side"]]:
    """Return a face's sRGB texture and its visibility."""
    world = model.decode(fit.coefficients.identity_coeffs, fit.coefficients.expression_coeffs)
    view = world_to_view(world, fit.pose)
    fragments, _ = render_gbuffer(model, view, fit.camera)
    seen = unwrap(model, image[None], view, fit.camera, fragments, resolution)
    texture = linear_to_srgb(seen.uv_texture[0]).permute(1, 2, 0)
    return texture.numpy(), seen.uv_visibility[0, 0].numpy()
