"""Checkpoints of trainings: a file a configuration, replaced as a whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from facealbedo.core.train.config import TrainingError
from facealbedo.datasets.face_folders import StorageError, write_file


@dataclass(frozen=True)
class CheckpointFile:
    """One checkpoint. Implements `core.train.loop.CheckpointStore`."""

    path: Path

    def read(self) -> bytes | None:
        """Return the last good checkpoint, if there is one.

        Raises:
            TrainingError: it is there but cannot be read.
        """
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrainingError(f"cannot read the checkpoint {self.path}: {error.strerror or error}") from error

    def write(self, data: bytes) -> None:
        """Replace the checkpoint.

        Raises:
            TrainingError: it cannot be written; the one before stays.
        """
        try:
            write_file(self.path, data)
        except StorageError as error:
            raise TrainingError(
                f"{error}; the checkpoint before is kept, and the same command goes on there"
            ) from error


class CheckpointsDataset(AbstractDataset[Path, None]):
    """Kedro dataset: loads the folder in which a training keeps its checkpoints."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        """Set the folder."""
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Return the folder, which is made if need be."""
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def save(self, data: None) -> None:
        """Checkpoints are written by the training itself."""
        raise TrainingError("checkpoints are written while training, not by a node's output")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
