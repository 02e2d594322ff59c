"""Soft region masks on the atlas, exactly left-right symmetric.

Most regions are polygons of FaceMesh landmarks in the atlas with a soft edge; ears come from the displacement of an ear
target, nostrils from their depth, neck and scalp from planes in space. Lengths are millimetres on the mean face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull

from facealbedo.core.face_model.atlas import Atlas, texels_per_mm

REGION_DESCRIPTIONS = {
    "skin": "all outer skin, scalp and neck included; without lips, lid rims and nostrils",
    "face": "the landmark oval, evenly, with a soft edge",
    "core_skin": "inner face without lips, brows, lids and nostrils: where statistics of skin colour are taken",
    "forehead": "above the brows, up to the oval's top",
    "brows": "eyebrows",
    "lids": "upper lid to its crease and lower lid, lid rims included",
    "eye_rims": "inside the visible lid edge: rim and what the eyeball hides",
    "under_eye": "below the lower lid, down to the orbit's edge",
    "nose": "from the root to the base, wings included",
    "nostrils": "inside of the nostrils",
    "cheeks": "from nose to ear, below the orbit",
    "lips": "both lips, to where the mouth bag begins",
    "chin": "below the lower lip",
    "beard": "moustache, chin, jaw and the upper neck, without lips",
    "ears": "ears, front and back",
    "scalp": "behind the hairline, down to the nape",
    "neck": "below jaw and nape",
}
"""What each region holds, in the order of the masks."""

# Polygons of FaceMesh landmarks. Half polygons lie on the subject's right (u < 0.5), from the mid-line to the mid-line.
FACE_OVAL_HALF = (10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
OUTER_LIPS_HALF = (0, 37, 39, 40, 185, 61, 146, 91, 181, 84, 17)
NOSE_HALF = (168, 193, 245, 114, 217, 126, 209, 129, 64, 98, 97, 2)
FOREHEAD_HALF = (10, 109, 67, 103, 54, 21, 71, 70, 63, 105, 66, 107, 9)
CHIN_HALF = (18, 83, 182, 204, 211, 149, 176, 148, 152)
BEARD_UPPER_HALF = (2, 97, 98, 206, 207, 187, 147, 137, 93)
# One side (the subject's right).
EYE_CONTOUR = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LID_CONTOUR = (130, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25)
UNDER_EYE = (25, 110, 24, 23, 22, 26, 112, 244, 128, 121, 120, 119, 118, 117, 111, 31)
BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
NOSTRIL = (218, 239, 241, 97, 60, 75, 166)
CHEEK = (227, 116, 111, 117, 118, 119, 100, 142, 203, 206, 216, 214, 192, 213, 177, 137)

JAW_TIP = 152
NOSTRIL_DEPTH_MM = (0.3, 0.9)
"""Depth below the smoothed nose at which the mask of a nostril starts, and is full."""


@dataclass(frozen=True)
class _Sheet:
    """The atlas with landmarks on it, measured in millimetres of the mean face."""

    points: Float[np.ndarray, "uv 2"]
    landmarks: Float[np.ndarray, "landmark 2"]
    middle: float

    def polygon(self, corners: tuple[int, ...]) -> Float[np.ndarray, "corner 2"]:
        return self.landmarks[list(corners)]

    def whole(self, half: Float[np.ndarray, "corner 2"]) -> Float[np.ndarray, "corners 2"]:
        """Close a half polygon with its mirror image."""
        return np.concatenate([half, self.mirrored(half)[::-1]])

    def mirrored(self, polygon: Float[np.ndarray, "corner 2"]) -> Float[np.ndarray, "corner 2"]:
        return np.stack([2.0 * self.middle - polygon[:, 0], polygon[:, 1]], axis=1)

    def oval(self) -> Float[np.ndarray, "corners 2"]:
        """The convex hull of the landmark oval (at the jaw's angle the landmarks themselves run inward)."""
        corners = self.whole(self.polygon(FACE_OVAL_HALF))
        return corners[ConvexHull(corners).vertices]

    def inside(self, polygon: np.ndarray, soft: float, grow: float = 0.0) -> Float[np.ndarray, "uv"]:
        """Soft mask of a polygon: 0.5 at ``grow`` mm outside its edge, over a ramp ``soft`` mm wide."""
        return _ramp(_signed_distance(self.points, polygon) + grow, soft)

    def inside_both(self, corners: tuple[int, ...], soft: float, grow: float = 0.0) -> Float[np.ndarray, "uv"]:
        """Soft mask of a polygon of one side and of its mirror image."""
        polygon = self.polygon(corners)
        masks = (self.inside(side, soft, grow) for side in (polygon, self.mirrored(polygon)))
        return np.maximum(*masks)


def build_regions(
    points: Float[np.ndarray, "vertex 3"],
    triangles: Int[np.ndarray, "triangle 3"],
    atlas: Atlas,
    landmarks_uv: Float[np.ndarray, "landmark 2"],
    ear_motion: Float[np.ndarray, "vertex"],
) -> dict[str, Float[np.ndarray, "uv"]]:
    """Return a mask in [0, 1] at the uv vertices for each of `REGION_DESCRIPTIONS`.

    Args:
        points: mean face (metres, model's frame).
        triangles: the atlas triangles.
        atlas: UV layout.
        landmarks_uv: the 468 surface landmarks of FaceMesh in the atlas.
        ear_motion: how far a target that turns the ears out moves each vertex, greatest value 1.
    """
    scale = 1.0 / _uv_per_mm(points, atlas)
    sheet = _Sheet(points=atlas.uv * scale, landmarks=landmarks_uv * scale, middle=0.5 * scale)
    place = points[atlas.source]
    masks = _facial_regions(sheet)
    masks["nostrils"] = _nostrils(points, triangles, atlas, sheet)
    masks["ears"] = _smoothed(_smooth_step(ear_motion, 0.08, 0.22)[atlas.source], atlas, steps=2)
    masks["neck"] = _below_jaw(place)
    oval = sheet.inside(sheet.oval(), soft=10.0, grow=8.0)
    before_ear = _smooth_step(place[:, 2], -0.090, -0.080) * (1.0 - _smooth_step(place[:, 1], 0.010, 0.025))
    masks["scalp"] = (1.0 - oval) * (1.0 - masks["ears"]) * (1.0 - masks["neck"]) * (1.0 - before_ear)
    masks["skin"] = 1.0 - np.maximum.reduce([masks["lips"], masks["eye_rims"], masks["nostrils"]])
    masks["core_skin"] = _core_skin(sheet, masks["nostrils"])
    symmetric = {name: 0.5 * (masks[name] + masks[name][atlas.mirror]) for name in REGION_DESCRIPTIONS}
    return {name: np.clip(mask, 0.0, 1.0) for name, mask in symmetric.items()}


def _facial_regions(sheet: _Sheet) -> dict[str, np.ndarray]:
    """The regions that are polygons of landmarks."""
    lips = sheet.inside(sheet.whole(sheet.polygon(OUTER_LIPS_HALF)), soft=1.5)
    brows = sheet.inside_both(BROW, soft=2.0)
    return {
        "face": sheet.inside(sheet.oval(), soft=10.0),
        "forehead": sheet.inside(sheet.whole(sheet.polygon(FOREHEAD_HALF)), soft=8.0) * (1.0 - brows),
        "brows": brows,
        "lids": sheet.inside_both(LID_CONTOUR, soft=3.0, grow=0.5),
        "eye_rims": sheet.inside_both(EYE_CONTOUR, soft=1.5),
        "under_eye": sheet.inside_both(UNDER_EYE, soft=4.0),
        "nose": sheet.inside(sheet.whole(sheet.polygon(NOSE_HALF)), soft=4.0),
        "cheeks": sheet.inside_both(CHEEK, soft=12.0),
        "lips": lips,
        "chin": sheet.inside(sheet.whole(sheet.polygon(CHIN_HALF)), soft=8.0),
        "beard": _beard(sheet) * (1.0 - lips),
    }


def _beard(sheet: _Sheet) -> np.ndarray:
    """Below a line from under the nose to the sideburns, down to a little below the jaw."""
    upper = sheet.polygon(BEARD_UPPER_HALF)
    floor = np.array([upper[-1, 0] - 30.0, sheet.landmarks[JAW_TIP, 1] + 60.0])
    below = sheet.inside(sheet.whole(np.concatenate([upper, [[floor[0], upper[-1, 1]], floor]])), soft=8.0)
    return below * sheet.inside(sheet.oval(), soft=12.0, grow=12.0)


def _core_skin(sheet: _Sheet, nostrils: np.ndarray) -> np.ndarray:
    face = sheet.inside(sheet.oval(), soft=4.0, grow=-8.0)
    lips = sheet.inside(sheet.whole(sheet.polygon(OUTER_LIPS_HALF)), soft=2.0, grow=2.0)
    brows = sheet.inside_both(BROW, soft=2.0, grow=2.0)
    lids = sheet.inside_both(LID_CONTOUR, soft=2.0, grow=2.0)
    return face * (1.0 - lips) * (1.0 - brows) * (1.0 - lids) * (1.0 - nostrils)


def _below_jaw(place: Float[np.ndarray, "uv 3"]) -> np.ndarray:
    """Neck: below a plane from under the chin to the ear lobes, and below the nape's hairline behind them."""
    chin_y, chin_z, lobe_y, lobe_z, nape_y = -0.121, 0.020, -0.055, -0.095, -0.058
    jaw = chin_y + (lobe_y - chin_y) * (chin_z - place[:, 2]) / (chin_z - lobe_z)
    return _ramp(1e3 * (np.minimum(jaw, nape_y) - 0.005 - place[:, 1]), 10.0)


def _nostrils(
    points: Float[np.ndarray, "vertex 3"], triangles: Int[np.ndarray, "triangle 3"], atlas: Atlas, sheet: _Sheet
) -> Float[np.ndarray, "uv"]:
    """The pits in the nose's base: what lies below the smoothed surface there."""
    depth = _depth_below_smoothed(points, triangles)[atlas.source]
    return sheet.inside_both(NOSTRIL, soft=2.0, grow=1.0) * _smooth_step(1e3 * depth, *NOSTRIL_DEPTH_MM)


def _depth_below_smoothed(
    points: Float[np.ndarray, "vertex 3"], triangles: Int[np.ndarray, "triangle 3"], steps: int = 60
) -> Float[np.ndarray, "vertex"]:
    """Return how far (metres) each vertex lies below the surface after some steps of Laplacian smoothing."""
    edges = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    both = np.concatenate([edges, edges[:, ::-1]])
    graph = sp.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(len(points), len(points)))
    graph.data[:] = 1.0  # an inner edge was counted twice
    average = sp.diags(1.0 / np.maximum(graph.sum(axis=1).A1, 1.0)) @ graph
    smooth = points
    for _ in range(steps):
        smooth = 0.5 * (smooth + average @ smooth)
    return ((smooth - points) * _vertex_normals(points, triangles)).sum(axis=1)


def _smoothed(mask: Float[np.ndarray, "uv"], atlas: Atlas, steps: int) -> Float[np.ndarray, "uv"]:
    """Average with the neighbours in the atlas a few times."""
    edges = atlas.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    both = np.concatenate([edges, edges[:, ::-1]])
    count = np.bincount(both[:, 0], minlength=len(mask))
    for _ in range(steps):
        mask = 0.5 * (mask + np.bincount(both[:, 0], mask[both[:, 1]], len(mask)) / count)
    return mask


def _signed_distance(points: Float[np.ndarray, "point 2"], polygon: Float[np.ndarray, "corner 2"]) -> np.ndarray:
    """Distance to a polygon's edge, positive inside."""
    distance = np.full(len(points), np.inf)
    inside = np.zeros(len(points), dtype=bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        edge, to_point = b - a, points - a
        along = np.clip((to_point @ edge) / max(edge @ edge, 1e-12), 0.0, 1.0)
        distance = np.minimum(distance, np.linalg.norm(to_point - along[:, None] * edge, axis=1))
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        if edge[1] != 0.0:
            inside ^= crosses & (points[:, 0] < a[0] + edge[0] * (points[:, 1] - a[1]) / edge[1])
    return np.where(inside, distance, -distance)


def _uv_per_mm(points: Float[np.ndarray, "vertex 3"], atlas: Atlas) -> float:
    """Length in the atlas of a millimetre on the front of the face (median)."""
    front = points[atlas.source[atlas.triangles]].mean(axis=1)[:, 2] > 0.0
    return float(np.median(texels_per_mm(atlas, points, resolution=1)[front]))


def _vertex_normals(points: np.ndarray, triangles: np.ndarray) -> Float[np.ndarray, "vertex 3"]:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(points)
    for corner in range(3):
        np.add.at(out, triangles[:, corner], face)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-30)


def _ramp(distance_mm: np.ndarray, width_mm: float) -> np.ndarray:
    return _smooth_step(distance_mm, -0.5 * width_mm, 0.5 * width_mm)


def _smooth_step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
