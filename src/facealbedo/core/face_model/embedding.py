"""Where facial landmarks lie on the face model.

FaceMesh's 468 surface landmarks are embedded by detection, without hand work: see `embed_by_detection`. Its ten iris
landmarks follow from the eyeballs, and the 68 landmarks of iBUG 300-W from those of FaceMesh.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from facealbedo.core.face_model.head import EYEBALL_RINGS, EYEBALL_SECTORS, IRIS_DEGREES, N_EYEBALL_VERTICES
from facealbedo.core.face_model.model import LandmarkEmbedding

N_SURFACE_LANDMARKS = 468

IBUG68_OF_MEDIAPIPE = (
    # Jaw, from the subject's right ear to the left one; FaceMesh's oval is a silhouette, so these slide.
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    # Brows, the subject's right one first.
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    # Bridge of the nose from the root to the tip, then its base from right to left.
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    # Eyes: right, then left; each clockwise in the image from its left corner.
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    # Outer lips clockwise from the right corner, then inner lips.
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""FaceMesh's landmark for each of the 68 of iBUG 300-W (the usual correspondence by position)."""


def iris_embedding(
    triangles: Int[np.ndarray, "triangle 3"], n_vertices: int
) -> tuple[Int[np.ndarray, "landmark"], Float[np.ndarray, "landmark 3"]]:
    """Return triangles and barycentrics of FaceMesh's iris landmarks 468 to 477.

    Right eye first (468 to 472), then the left one: the iris' centre, then its border towards the image's right (the
    subject's left, +x), up, left, and down.

    Args:
        triangles: all triangles of the surface; the eyeballs are its last vertices, the left one first.
        n_vertices: number of vertices.
    """
    ring = 1 + EYEBALL_RINGS.index(IRIS_DEGREES) * EYEBALL_SECTORS
    chosen, weights = [], []
    for eye in (1, 0):
        first = n_vertices - (2 - eye) * N_EYEBALL_VERTICES
        pairs = [(first, first)]
        # Vertices lie half a sector off the axes: the border's extreme is the middle of an edge.
        pairs += [(first + ring + (k - 1) % EYEBALL_SECTORS, first + ring + k) for k in _quarter_turns()]
        for a, b in pairs:
            triangle = int(np.flatnonzero((triangles == a).any(axis=1) & (triangles == b).any(axis=1))[0])
            weight = ((triangles[triangle] == a) + (triangles[triangle] == b)).astype(float)
            chosen.append(triangle)
            weights.append(weight / weight.sum())
    return np.array(chosen), np.array(weights)


def ibug68_from_mediapipe(mediapipe: LandmarkEmbedding) -> LandmarkEmbedding:
    """Return the embedding of iBUG's 68 landmarks: FaceMesh's at the same places."""
    chosen = np.array(IBUG68_OF_MEDIAPIPE)
    return LandmarkEmbedding(mediapipe.triangles[chosen], mediapipe.barycentrics[chosen], mediapipe.spread_mm[chosen])


def _quarter_turns() -> tuple[int, ...]:
    return tuple(turn * EYEBALL_SECTORS // 4 for turn in range(4))
