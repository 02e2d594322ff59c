"""Where in a photo there are faces: a search from coarse to fine.

The full-range finder sees faces from 7 % of its image's side. The first look is at the whole photo; further looks are
at tiles, each level half the size of the one before, so that a face of 1 % of a large photo is found too. There is a
finer level while the one before misses faces of the smallest size that is asked for, and only as long as they find new
ones (or none was found at all).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from facealbedo.core.detect.detector import box_of, overlap
from facealbedo.core.detect.mediapipe_graphs import FINDER_INPUT_PX, FaceFinder, FoundFace
from facealbedo.core.detect.squares import Pyramid, Square, angle_of_eyes

SMALLEST_FOUND_PX = 14
"""Width of the smallest faces that the full-range finder finds reliably, in pixels of its input."""

TILE_OVERLAP = 0.25
"""Overlap of neighbouring tiles as a part of their side. A face that is cut by every tile of a level is larger than
this, and was found on the level before."""

PADDED = 1.4
"""Side of the square tried when the whole photo shows no face, over the photo's longer side: a face that fills the
photo, or is cut off by its border, is found with some space around it."""

SMALLEST_SHORT_RANGE = 1 / 3
"""Size of the smallest faces taken from the short-range finder, over its image's side: it takes smaller things, ears
above all, for faces, and the full-range finder misses no small ones."""

SAME_FACE_OVERLAP = 0.5
SAME_FACE_RATIO = 1.5


@dataclass(frozen=True, eq=False)
class Candidate:
    """A possible face, in pixels of the photo.

    Attributes:
        score: The finder's score in [0, 1].
        box_px: Upright bounding box of the finder's (maybe turned) box.
        square: Around the face, turned so that the eyes are level; its side is that of the finder's box.
    """

    score: float
    box_px: tuple[float, float, float, float]
    square: Square


class FaceSearch:
    """Finds the places of faces in photos of any size."""

    def __init__(self, min_face_px: float = 40.0, max_levels: int = 4):
        """Load the finders.

        Args:
            min_face_px: Smaller faces need not be found, pixels of the photo.
            max_levels: How often the tiles may be halved: 4 finds faces of 0.5 % of the photo's longer side.
        """
        self.min_face_px = min_face_px
        self.max_levels = max_levels
        self._full_range = FaceFinder(full_range=True)
        self._short_range = FaceFinder(full_range=False)

    def find(self, photo: Pyramid) -> list[Candidate]:
        """Return the possible faces of a photo, the best first. Some may be no faces."""
        side = float(max(photo.width, photo.height))
        whole = Square(photo.width / 2, photo.height / 2, side)
        found = self._look_closely(photo, whole)
        for square in _other_looks(whole):
            if found:
                break
            found = self._look_closely(photo, square)
        for level in range(1, self.max_levels + 1):
            smallest_found = SMALLEST_FOUND_PX / FINDER_INPUT_PX * side / 2 ** (level - 1)
            if smallest_found <= self.min_face_px:
                break
            together = _without_doubles(found + self._look_at_tiles(photo, side / 2**level))
            if found and len(together) == len(found):
                break
            found = together
        return found

    def _look_at_tiles(self, photo: Pyramid, tile: float) -> list[Candidate]:
        squares = _tiles(photo.width, photo.height, tile)
        return [candidate for square in squares for candidate in self._look(photo, square, self._full_range)]

    def _look_closely(self, photo: Pyramid, square: Square) -> list[Candidate]:
        near = self._look(photo, square, self._short_range)
        near = [candidate for candidate in near if candidate.square.side >= SMALLEST_SHORT_RANGE * square.side]
        return _without_doubles(self._look(photo, square, self._full_range) + near)

    def _look(self, photo: Pyramid, square: Square, finder: FaceFinder) -> list[Candidate]:
        image = photo.cut(square, FINDER_INPUT_PX)
        return [_candidate(face, square) for face in finder.find(image)]


def _other_looks(whole: Square) -> Iterator[Square]:
    """What to look at when the whole photo shows no face: with space around it, then turned by quarters."""
    yield whole.scaled(PADDED)
    for quarters in (1, 3, 2):
        yield Square(whole.center_x, whole.center_y, whole.side, quarters * math.pi / 2)


def _tiles(width: int, height: int, tile: float) -> Iterator[Square]:
    """Evenly spaced squares that cover the photo and overlap by at least `TILE_OVERLAP`."""
    for y in _centers(height, tile):
        for x in _centers(width, tile):
            yield Square(x, y, tile)


def _centers(length: float, tile: float) -> list[float]:
    if length <= tile:
        return [length / 2]
    count = math.ceil((length / tile - 1) / (1 - TILE_OVERLAP) - 1e-9) + 1
    return [float(center) for center in np.linspace(tile / 2, length - tile / 2, count)]


def _candidate(face: FoundFace, square: Square) -> Candidate:
    """Carry a found face from the square that was looked at to the photo."""
    left, top, right, bottom = face.box_px
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    in_photo = square.to_photo(corners, FINDER_INPUT_PX)
    eyes = square.to_photo(face.eyes_px, FINDER_INPUT_PX)
    center = in_photo.mean(axis=0)
    side = max(right - left, bottom - top) * square.side / FINDER_INPUT_PX
    return Candidate(
        score=face.score,
        box_px=box_of(in_photo),
        square=Square(float(center[0]), float(center[1]), side, angle_of_eyes(eyes[0], eyes[1])),
    )


def _without_doubles(candidates: list[Candidate]) -> list[Candidate]:
    """Keep the best of candidates for the same face, the best first."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda entry: (-entry.score, entry.box_px)):
        if all(not _same(candidate, other) for other in kept):
            kept.append(candidate)
    return kept


def _same(first: Candidate, second: Candidate) -> bool:
    sides = sorted((first.square.side, second.square.side))
    return overlap(first.box_px, second.box_px) > SAME_FACE_OVERLAP and sides[1] < SAME_FACE_RATIO * sides[0]
