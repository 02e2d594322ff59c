"""The whole study: renders, then photos, to one table of landmarks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8

from facealbedo.core.embed.backproject import (
    BackprojectionConfig,
    Consensus,
    back_project,
    find_consensus,
    symmetrise,
)
from facealbedo.core.embed.photos import DetectedPhoto, PhotoPassConfig, hits_in_photos
from facealbedo.core.embed.portraits import PortraitConfig, draw_portraits
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.face_model.embedding import N_SURFACE_LANDMARKS, LandmarkTable, mediapipe478
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.landmark_groups import MEDIAPIPE478

FindLandmarks = Callable[[UInt8[np.ndarray, "height width 3"]], Float[np.ndarray, "landmark 2"] | None]
"""Takes an sRGB image, returns FaceMesh's landmarks of its face in pixels, or None."""


class EmbeddingError(FaceAlbedoError):
    """Too few heads or photos showed a face."""


@dataclass(frozen=True)
class StudyConfig:
    """Settings of the study.

    Args:
        portraits: rendered heads.
        photos: which photos count.
        backprojection: which landmarks of an image count.
        n_passes: passes over the photos, each with the landmarks of the one before.
    """

    portraits: PortraitConfig = field(default_factory=PortraitConfig)
    photos: PhotoPassConfig = field(default_factory=PhotoPassConfig)
    backprojection: BackprojectionConfig = field(default_factory=BackprojectionConfig)
    n_passes: int = 2


def embed_in_renders(
    model: FaceModel, lip_paint: Float[np.ndarray, "vertex"], find_landmarks: FindLandmarks, config: StudyConfig
) -> Consensus:
    """Return where a detector's landmarks lie on rendered heads, symmetrised.

    Raises:
        EmbeddingError: if a landmark was seen in too few of them.
    """
    hits = []
    paint = torch.from_numpy(lip_paint).float()
    mean, triangles = model.mean.double().numpy(), model.triangles.numpy()
    for portrait in draw_portraits(model, paint, config.portraits):
        landmarks = find_landmarks(portrait.image_srgb.numpy())
        if landmarks is not None:
            surface = landmarks[:N_SURFACE_LANDMARKS]
            hits.append(
                back_project(
                    surface, portrait.fragments, mean, triangles, model.n_atlas_triangles, config.backprojection
                )
            )
    return _symmetric_consensus(hits, config.backprojection)


def refine_in_photos(
    model: FaceModel, rendered: Consensus, photos: Iterable[DetectedPhoto], config: StudyConfig
) -> LandmarkTable:
    """Return the table of landmarks that fits to photos agree on, starting from the renders'.

    Raises:
        EmbeddingError: if too few photos count.
    """
    photos = list(photos)
    positions, counts = rendered.positions, []
    for _ in range(config.n_passes):
        placed = with_landmarks(model, positions, rendered.spread_mm)
        hits = list(hits_in_photos(placed, photos, config.photos))
        positions = _symmetric_consensus(hits, config.backprojection).positions
        counts.append(len(hits))
    digest = hashlib.sha256(b"".join(np.round(photo.landmarks_px, 3).tobytes() for photo in photos))
    return LandmarkTable(
        positions=positions,
        spread_mm=rendered.spread_mm,
        rendered_positions=rendered.positions,
        provenance={
            "settings": repr(config),
            "photos": str(len(photos)),
            "photos_counted_by_pass": ", ".join(map(str, counts)),
            "sha256_of_their_landmarks": digest.hexdigest(),
        },
    )


def with_landmarks(
    model: FaceModel, positions: Float[np.ndarray, "landmark 3"], spread_mm: Float[np.ndarray, "landmark"]
) -> FaceModel:
    """Return the model with FaceMesh's landmarks at given positions, and no others."""
    embedding = mediapipe478(
        positions, spread_mm, model.mean.double().numpy(), model.triangles.numpy(), model.n_atlas_triangles
    )
    placed = replace(model.stored, landmarks={"mediapipe478": embedding})
    return FaceModel.from_stored(placed)


def _symmetric_consensus(hits: list[np.ndarray], config: BackprojectionConfig) -> Consensus:
    if len(hits) < config.least_images:
        raise EmbeddingError(f"only {len(hits)} images count; at least {config.least_images} are needed")
    found = find_consensus(np.stack(hits), config)
    lost = np.flatnonzero(~np.isfinite(found.positions).all(axis=1))
    if lost.size:
        raise EmbeddingError(f"the landmarks {lost.tolist()} were seen in fewer than {config.least_images} images")
    return Consensus(symmetrise(found.positions, MEDIAPIPE478.mirror), found.spread_mm, found.seen)
