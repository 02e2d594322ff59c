"""Which landmark is what, for the two landmark layouts that the fit understands.

``mediapipe478``: MediaPipe FaceMesh topology, 468 points of the surface and ten of the irises (468-477). These
follow the gaze, which is not fitted; they are left out everywhere.
``ibug68``: the 68 points of the 300-W annotations, as face-alignment gives them.

The sets are MediaPipe's own (``face_mesh_connections``; a test compares them). Left and right are the subject's.
"""

from __future__ import annotations

from dataclasses import dataclass

MEDIAPIPE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The 36 points of the face's outline, in order. They slide along the silhouette as the head turns: no fixed point of
the surface answers to them."""

MEDIAPIPE_OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Outer border of the lips, a closed polygon in order."""

MEDIAPIPE_INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Inner border of the lips, a closed polygon in order: what lies inside is teeth, tongue or darkness."""

IBUG_INNER_LIPS = tuple(range(60, 68))
"""The same in the 68 points of 300-W."""

MEDIAPIPE_RIGHT_LIDS = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
MEDIAPIPE_LEFT_LIDS = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""Rims of the eyelids, closed polygons in order from the outer corner: what lies inside is the eyeball."""

MEDIAPIPE_RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
MEDIAPIPE_LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)

MEDIAPIPE_NOSE = (
    *(1, 2, 4, 5, 6, 19, 45, 48, 64, 94, 97, 98, 115, 168, 195, 197, 220, 275, 278, 294, 326, 327, 344, 440),
)

MEDIAPIPE_MIDLINE = (
    *(0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 94),
    *(151, 152, 164, 168, 175, 195, 197, 199, 200),
)
"""Points that are their own mirror image."""


def _mediapipe_mirror() -> tuple[int, ...]:
    """Partner of each of the 468 points: right half and left half are numbered in the same order."""
    sides = [index for index in range(468) if index not in MEDIAPIPE_MIDLINE]
    right, left = sides[:220], sides[220:]
    partner = {**{index: index for index in MEDIAPIPE_MIDLINE}, **dict(zip(right, left, strict=True))}
    partner.update(zip(left, right, strict=True))
    return tuple(partner[index] for index in range(468))


def _ibug_mirror() -> tuple[int, ...]:
    """Partner of each of the 68 points: each row of points is numbered from the subject's right."""
    rows = ((0, 16), (17, 26), (27, 27), (28, 28), (29, 29), (30, 30), (31, 35), (48, 54), (55, 59), (60, 64), (65, 67))
    partner = {index: first + last - index for first, last in rows for index in range(first, last + 1)}
    eyes = ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))
    partner.update(pair for right, left in eyes for pair in ((right, left), (left, right)))
    return tuple(partner[index] for index in range(68))


@dataclass(frozen=True)
class LandmarkLayout:
    """The groups of one layout, as indices into its landmarks.

    Attributes:
        kind: Name of the layout, as the face model and the detectors spell it.
        n_landmarks: How many points a detector gives.
        n_surface: How many of them, from the first, lie on the skin; only these are fitted and measured.
        oval: Points of the outline, which slide along the silhouette.
        lips, eyelids, brows, nose: Points of these parts.
        eye_corners: Outer and inner corner of the right eye, then of the left eye: a pair of pairs.
        mirror: Which point of the skin each becomes in the mirror.
        diagonal_to_interocular: Distance of the eyes' centres in a frontal face as a part of the diagonal of the
            landmarks' bounding box.
    """

    kind: str
    n_landmarks: int
    n_surface: int
    oval: tuple[int, ...]
    lips: tuple[int, ...]
    eyelids: tuple[int, ...]
    brows: tuple[int, ...]
    nose: tuple[int, ...]
    eye_corners: tuple[tuple[int, int], tuple[int, int]]
    mirror: tuple[int, ...]
    diagonal_to_interocular: float

    @property
    def inner(self) -> tuple[int, ...]:
        """All points of the surface but the oval, ascending: those that the error is measured on."""
        return tuple(sorted(set(range(self.n_surface)) - set(self.oval)))

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Name and points of every group; ``other`` holds those of no group. Each point is in one group only."""
        named = {"oval": self.oval, "lips": self.lips, "eyelids": self.eyelids, "brows": self.brows, "nose": self.nose}
        taken = {index for group in named.values() for index in group}
        return {**named, "other": tuple(sorted(set(range(self.n_surface)) - taken))}


MEDIAPIPE478 = LandmarkLayout(
    kind="mediapipe478",
    n_landmarks=478,
    n_surface=468,
    oval=MEDIAPIPE_OVAL,
    lips=MEDIAPIPE_OUTER_LIPS + MEDIAPIPE_INNER_LIPS,
    eyelids=MEDIAPIPE_RIGHT_LIDS + MEDIAPIPE_LEFT_LIDS,
    brows=MEDIAPIPE_RIGHT_BROW + MEDIAPIPE_LEFT_BROW,
    nose=MEDIAPIPE_NOSE,
    eye_corners=((33, 133), (263, 362)),
    mirror=_mediapipe_mirror(),
    diagonal_to_interocular=0.28,
)

IBUG68 = LandmarkLayout(
    kind="ibug68",
    n_landmarks=68,
    n_surface=68,
    oval=tuple(range(17)),
    lips=tuple(range(48, 68)),
    eyelids=tuple(range(36, 48)),
    brows=tuple(range(17, 27)),
    nose=tuple(range(27, 36)),
    eye_corners=((36, 39), (45, 42)),
    mirror=_ibug_mirror(),
    # This box ends at the brows: its diagonal is shorter by a tenth.
    diagonal_to_interocular=0.31,
)

LAYOUTS = {layout.kind: layout for layout in (MEDIAPIPE478, IBUG68)}


def layout_of(n_landmarks: int) -> LandmarkLayout:
    """Return the layout with this many landmarks; 468, MediaPipe without irises, counts as ``mediapipe478``.

    Raises:
        ValueError: No layout has this many.
    """
    for layout in LAYOUTS.values():
        if n_landmarks in (layout.n_landmarks, layout.n_surface):
            return layout
    known = sorted({count for layout in LAYOUTS.values() for count in (layout.n_landmarks, layout.n_surface)})
    raise ValueError(f"no landmark layout has {n_landmarks} points; known counts: {known}")
