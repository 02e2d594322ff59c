"""Comparing finished faces with their manifests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.export.manifest import MANIFEST_FILE, Difference, ManifestError, decode_manifest, differences

_JOURNAL_FILE = "journal.jsonl"


@dataclass(frozen=True)
class FaceCheck:
    """What became of one face's folder: how many files agree, and those that do not."""

    name: str
    files: int
    differences: tuple[Difference, ...]
    message: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether everything is as the manifest says."""
        return not (self.differences or self.message)


def verify(place: Path) -> Iterator[FaceCheck]:
    """Check one face's folder, or every face of a run's folder.

    Names in a manifest are compared, never opened: only what lies in the folder is read, and links are not followed.

    Raises:
        FaceAlbedoError: there is no folder, or none that holds faces.
    """
    if not place.is_dir():
        raise FaceAlbedoError(f"there is no folder {place}")
    if os.path.lexists(place / MANIFEST_FILE):
        yield verify_face(place)
        return
    folders = [path for path in sorted(place.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    lost = sorted(_finished(place / _JOURNAL_FILE) - {path.name for path in folders})
    if not folders and not lost:
        raise FaceAlbedoError(f"{place} holds neither {MANIFEST_FILE} nor folders of faces")
    for folder in folders:
        yield verify_face(folder)
    for name in lost:
        yield FaceCheck(name, 0, (), "the folder is missing, though the journal says that the face is done")


def verify_face(folder: Path) -> FaceCheck:
    """Compare one face's folder with its manifest."""
    try:
        data = _read_plain(folder / MANIFEST_FILE)
        manifest = decode_manifest(data)
        found = {name: _digest(folder / name) for name in _names(folder) if name != MANIFEST_FILE}
        rows = tuple(differences(manifest, found))
    except FileNotFoundError:
        return FaceCheck(folder.name, 0, (Difference("missing", MANIFEST_FILE),))
    except ManifestError as error:
        return FaceCheck(folder.name, 0, (), str(error))
    except OSError as error:
        return FaceCheck(folder.name, 0, (), f"cannot be read: {error.strerror or error}")
    return FaceCheck(folder.name, len(found), rows)


def _names(folder: Path) -> list[str]:
    """Every file below a folder, by its relative name with ``/``; links count as files."""
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in (*names, *links)]
    return sorted(found)


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return "not a plain file"
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_plain(path: Path) -> bytes:
    if path.is_symlink() or not (path.is_file() or not path.exists()):
        raise ManifestError(f"{path.name} is not a plain file")
    return path.read_bytes()


def _finished(journal: Path) -> set[str]:
    """Faces that the newest entry of each photo in a run's journal calls done; nothing from unreadable lines."""
    newest: dict[str, set[str]] = {}
    if journal.is_file():
        for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                newest[entry["photo_id"]] = {row["id"] for row in entry["rows"] if row["status"] == "done"}
            except (ValueError, LookupError, TypeError):
                continue
    return set().union(*newest.values())
