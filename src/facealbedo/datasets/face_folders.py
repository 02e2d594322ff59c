"""One folder of files a face: written whole or not at all, so that a crash never leaves half a face."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from facealbedo.core.errors import FaceAlbedoError

if TYPE_CHECKING:
    from kedro_datasets._typing import ImagePreview

FaceFiles = dict[str, bytes]
_STAGING = ".writing-"


class StorageError(FaceAlbedoError):
    """Results could not be written: the disk is full, read-only, or the place is not a folder."""


def _prefix(folder: Path) -> str:
    """Return how this process's half-written files are named; what killed processes left in the folder goes first."""
    _clean_once(folder, os.getpid())
    return f"{_STAGING}{os.getpid()}-"


@lru_cache(maxsize=1024)
def _clean_once(folder: Path, _process: int) -> None:
    remove_stale_staging(folder)


def write_face_folder(root: Path, face_id: str, files: FaceFiles) -> Path:
    """Write the files of one face to ``root/face_id``, replacing an earlier result as a whole.

    Args:
        root: folder of all faces; made when missing.
        face_id: one path segment.
        files: content by relative file name ("albedo.png").

    Raises:
        StorageError: when the disk is full or the folder cannot be written; nothing of this face is left behind.
        ValueError: when a name would leave the folder.
    """
    target = root / safe_segment(face_id)
    try:
        root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=_prefix(root), dir=root))
    except OSError as error:
        raise _storage_error(root, error) from error
    try:
        for name, content in files.items():
            path = staging / _safe_relative(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        staging.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        staging.replace(target)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise _storage_error(root, error) from error
    return target


def write_file(path: Path, content: bytes) -> None:
    """Write one file by way of a temporary neighbour, so that readers see the old or the new content, never a part.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=_prefix(path.parent), dir=path.parent)
    except OSError as error:
        raise _storage_error(path.parent, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _storage_error(path.parent, error) from error


def remove_stale_staging(root: Path) -> None:
    """Delete what killed processes left half written; what a running one is writing stays."""
    for leftover in root.glob(f"{_STAGING}*") if root.is_dir() else ():
        if is_running(leftover.name.removeprefix(_STAGING).split("-")[0]):
            continue
        shutil.rmtree(leftover, ignore_errors=True)
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


def is_running(process: str) -> bool:
    """Whether a process of this number runs on this machine."""
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _storage_error(folder: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"no space left for results in {folder}: free some and run again; faces already finished are kept"
        )
    return StorageError(f"cannot write results to {folder}: {error.strerror or error}")


def safe_segment(name: str) -> str:
    """Return the name if it is one path segment, else raise ValueError."""
    if not name or name in {".", ".."} or any(character in name for character in "/\\\0"):
        raise ValueError(f"a face id is one path segment, got {name!r}")
    return name


def _safe_relative(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise ValueError(f"a file name must stay inside the face's folder, got {name!r}")
    return name


class FaceFoldersDataset(AbstractDataset[dict[str, FaceFiles], dict[str, Path]]):
    """Kedro dataset: saves ``{face_id: {file name: bytes}}`` as one folder a face; loads ``{face_id: folder}``.

    A generator node may yield one face after another: each is complete on disk before the next is computed.
    """

    def __init__(self, *, filepath: str, preview_file: str = "relit.png", metadata: dict[str, Any] | None = None):
        """Set the folder, and the file of a face that Kedro-Viz shows."""
        self._root = Path(filepath)
        self._preview_file = preview_file
        self.metadata = metadata

    def save(self, data: dict[str, FaceFiles]) -> None:
        """Write every face of ``data``; faces already there and not in ``data`` stay. The root is there afterwards."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _storage_error(self._root, error) from error
        for face_id, files in data.items():
            write_face_folder(self._root, face_id, files)

    def load(self) -> dict[str, Path]:
        """Return the folder of every finished face."""
        if not self._root.is_dir():
            return {}
        return {path.name: path for path in sorted(self._root.iterdir()) if (path / "report.json").is_file()}

    def preview(self) -> ImagePreview:
        """Show one face in Kedro-Viz."""
        from facealbedo.datasets.previews import picture_preview

        pictures = [folder / self._preview_file for folder in self.load().values()]
        found = next((picture for picture in pictures if picture.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"there is no {self._preview_file} in {self._root} yet")
        return picture_preview(found)

    def _exists(self) -> bool:
        return bool(self.load())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._root), "preview_file": self._preview_file}
