"""From landmarks in an image of the model to points on the mean face, and from many of those to one embedding."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from facealbedo.core.types import Fragments


@dataclass(frozen=True)
class Consensus:
    """Where each landmark lies on the mean face.

    Args:
        positions: geometric median over the images (metres); NaN where too few saw it.
        spread_mm: median distance from it.
        seen: share of the images that count for it.
    """

    positions: Float[np.ndarray, "landmark 3"]
    spread_mm: Float[np.ndarray, "landmark"]
    seen: Float[np.ndarray, "landmark"]


@dataclass(frozen=True)
class BackprojectionConfig:
    """Which landmarks of an image count.

    Args:
        reach_px: a landmark may lie so far from the skin that it is assigned to.
        rim_px: landmarks nearer to the background slide along the silhouette and do not count.
        least_images: fewer make no consensus.
    """

    reach_px: float = 3.0
    rim_px: float = 4.0
    least_images: int = 5


def back_project(
    landmarks_px: Float[np.ndarray, "landmark 2"],
    fragments: Fragments,
    mean: Float[np.ndarray, "vertex 3"],
    triangles: Int[np.ndarray, "triangle 3"],
    n_atlas_triangles: int,
    config: BackprojectionConfig,
) -> Float[np.ndarray, "landmark 3"]:
    """Return the point of the mean face that is drawn where each landmark was found.

    Args:
        landmarks_px: detected in the image of ``fragments`` (batch of one).
        fragments: what the image shows.
        mean: mean face's vertices (metres).
        triangles: of the model.
        n_atlas_triangles: only these, the outer skin, can carry a landmark.
        config: see there.

    Returns:
        Points on the mean face; NaN for landmarks off the skin or near the silhouette.
    """
    identity = fragments.triangle_id[0].numpy()
    on_skin = (identity >= 0) & (identity < n_atlas_triangles)
    rows, columns = np.nonzero(on_skin)
    distance, nearest = cKDTree(np.stack([columns + 0.5, rows + 0.5], axis=1)).query(landmarks_px)
    row, column = rows[nearest], columns[nearest]
    weights = fragments.barycentrics[0].numpy()[row, column].astype(np.float64)
    points = np.einsum("lk,lkc->lc", weights, mean[triangles[identity[row, column]]])
    counts = (distance <= config.reach_px) & _inside_by(identity >= 0, landmarks_px, config.rim_px)
    return np.where(counts[:, None], points, np.nan)


def find_consensus(
    hits: Float[np.ndarray, "image landmark 3"], config: BackprojectionConfig, n_steps: int = 50
) -> Consensus:
    """Return the geometric median (Weiszfeld) of every landmark's points."""
    valid = np.isfinite(hits).all(axis=2)
    enough = valid.sum(axis=0) >= config.least_images
    with np.errstate(all="ignore"):
        points = np.where(valid[..., None], hits, 0.0)
        centre = points.sum(axis=0) / np.maximum(valid.sum(axis=0), 1)[:, None]
        for _ in range(n_steps):
            weight = valid / np.maximum(np.linalg.norm(points - centre, axis=2), 1e-6)
            centre = (points * weight[..., None]).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-30)[:, None]
    distance = np.where(valid, np.linalg.norm(points - centre, axis=2), np.nan)
    spread = np.full(hits.shape[1], np.nan)
    spread[enough] = np.nanmedian(distance[:, enough], axis=0)
    return Consensus(
        positions=np.where(enough[:, None], centre, np.nan), spread_mm=1e3 * spread, seen=valid.mean(axis=0)
    )


def symmetrise(positions: Float[np.ndarray, "landmark 3"], mirror: tuple[int, ...]) -> Float[np.ndarray, "landmark 3"]:
    """Average each landmark with the mirror image of its partner in the plane x = 0."""
    flipped = positions[list(mirror)] * [-1.0, 1.0, 1.0]
    return 0.5 * (positions + flipped)


def _inside_by(covered: Bool[np.ndarray, "height width"], points: np.ndarray, rim: float) -> Bool[np.ndarray, "point"]:
    depth = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 5)
    height, width = covered.shape
    column = np.clip(points[:, 0].astype(int), 0, width - 1)
    row = np.clip(points[:, 1].astype(int), 0, height - 1)
    return depth[row, column] > rim
