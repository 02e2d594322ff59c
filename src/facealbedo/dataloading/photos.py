"""Finding photos in a file or a folder, with names that are safe for every file system."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from facealbedo.core.errors import FaceAlbedoError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".ppm", ".pgm", ".jp2"}
)
_SLUG_LENGTH = 40


class PhotosError(FaceAlbedoError):
    """The place where photos should be holds none that can be read."""


@dataclass(frozen=True)
class PhotoFile:
    """A file that may be a photo.

    Attributes:
        id: unique in its listing, safe as a folder's name: the file's name, simplified, and a hash of its place.
        name: path relative to the folder that was listed, with ``/``; what people see.
        path: where it lies.
    """

    id: str
    name: str
    path: Path


def list_photos(place: Path) -> list[PhotoFile]:
    """Return every photo of a folder and those below it, or the one file, sorted by name.

    Files are chosen by their suffix; a file that is named itself is taken whatever its suffix. Hidden files and folders
    are left out; links are followed, each folder once.

    Raises:
        PhotosError: nothing there, an empty folder, or one that cannot be read.
    """
    if place.is_file():
        return [_photo(place, place.name)]
    if not place.exists():
        raise PhotosError(f"there is no file or folder {place}")
    if not os.access(place, os.R_OK | os.X_OK):
        raise PhotosError(f"the folder {place} cannot be read: check its permissions")
    found = sorted(_walk(place), key=lambda path: path.relative_to(place).as_posix())
    if not found:
        raise PhotosError(f"the folder {place} holds no photos ({', '.join(sorted(SUFFIXES))})")
    return [_photo(path, path.relative_to(place).as_posix()) for path in found]


def content_hash(data: bytes) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _walk(root: Path) -> list[Path]:
    found: list[Path] = []
    visited: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(folder) / name for name in files if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    return found


def _photo(path: Path, name: str) -> PhotoFile:
    readable = os.fsencode(name).decode("utf-8", errors="replace")
    plain = unicodedata.normalize("NFKD", Path(readable).stem).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:_SLUG_LENGTH] or "photo"
    place = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return PhotoFile(id=f"{slug}-{place}", name=readable, path=path)
