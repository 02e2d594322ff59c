"""Files whose content is already encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from facealbedo.datasets.face_folders import safe_segment, write_file


class BytesDataset(AbstractDataset[bytes, bytes]):
    """Kedro dataset: the bytes of one file, written whole or not at all."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        """Set the file."""
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> bytes:
        """Return the file's content."""
        return self._path.read_bytes()

    def save(self, data: bytes) -> None:
        """Replace the file's content."""
        write_file(self._path, data)

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class FileFolderDataset(AbstractDataset[dict[str, bytes], dict[str, Path]]):
    """Kedro dataset: saves ``{name: bytes}`` as files of one suffix; loads ``{name: path}``."""

    def __init__(self, *, folder: str, suffix: str, metadata: dict[str, Any] | None = None):
        """Set the folder and the suffix of its files, with its dot."""
        self._folder = Path(folder)
        self._suffix = suffix
        self.metadata = metadata

    def load(self) -> dict[str, Path]:
        """Return the file of each name."""
        return {
            path.name.removesuffix(self._suffix): path for path in sorted(self._folder.glob(f"[!.]*{self._suffix}"))
        }

    def save(self, data: dict[str, bytes]) -> None:
        """Write each file whole or not at all; others stay."""
        for name, content in data.items():
            write_file(self._folder / f"{safe_segment(name)}{self._suffix}", content)

    def _exists(self) -> bool:
        return self._folder.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder), "suffix": self._suffix}
