"""Files whose content is already encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from facealbedo.datasets.face_folders import write_file


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
