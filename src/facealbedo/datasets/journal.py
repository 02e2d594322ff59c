"""An append-only record of what a run has finished: one JSON object a line, so that a crash costs at most one line."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from facealbedo.core.errors import FaceAlbedoError

Entry = dict[str, Any]


class JournalError(FaceAlbedoError):
    """The journal of a run cannot be read or written."""


def read_journal(path: Path) -> list[Entry]:
    """Return the entries of a journal, oldest first; none when there is no journal.

    A last line that was cut off by a crash is left out: what it recorded is simply done again.

    Raises:
        JournalError: the file cannot be read or another line is no JSON object.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise JournalError(f"{path.parent} is a file: choose a folder for the results") from error
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(f"cannot read {path}: {error}; delete it to start over") from error
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise JournalError(f"{path}, line {number}, is damaged; delete the file to start over") from error
        if not isinstance(entry, dict):
            raise JournalError(f"{path}, line {number}, is no JSON object; delete the file to start over")
        entries.append(entry)
    return entries


def append_journal(path: Path, entries: Sequence[Entry]) -> None:
    """Append entries and force them to the disk.

    Raises:
        JournalError: the file cannot be written.
    """
    text = "".join(json.dumps(entry, ensure_ascii=True, allow_nan=False) + "\n" for entry in entries)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb+" if path.exists() else "wb+") as stream:
            _drop_cut_line(stream)
            stream.write(text.encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise JournalError(f"cannot write {path}: {error.strerror or error}") from error


def _drop_cut_line(stream: Any) -> None:
    """Remove what follows the last line end, and stand at the end of the file."""
    size = stream.seek(0, os.SEEK_END)
    if size:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) == b"\n":
            return
    stream.seek(0)
    content = stream.read()
    end = content.rfind(b"\n") + 1
    stream.seek(end)
    stream.truncate()


class JournalDataset(AbstractDataset[list[Entry], list[Entry]]):
    """Kedro dataset: loads all entries (none when there is no file yet); saving appends."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        """Set the file."""
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> list[Entry]:
        """Return the entries, oldest first."""
        return read_journal(self._path)

    def save(self, data: list[Entry]) -> None:
        """Append entries."""
        append_journal(self._path, data)

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
