"""Training crops: a table of fits and a JPEG a face, as batches on the device.

`ResidentCrops` holds everything on the device (2,000 crops of 256² take 0.4 GB); `StreamedCrops` decodes on demand,
ahead of the step that needs them.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from torch import Tensor

from facealbedo.core.train.batch import CropBatch
from facealbedo.core.train.config import TrainingError
from facealbedo.core.types import Camera, FaceCoefficients, Pose

logger = logging.getLogger(__name__)
# A part of the device's free memory that crops may take; the rest is for training.
RESIDENT_SHARE = 0.3
DECODERS = 8


@dataclass(frozen=True)
class CropTable:
    """What is known of each crop but its pixels (CPU), row by row, and where the pixels lie.

    * ``paths``: JPEG of each row. ``ids``: of the faces.
    * ``fits``: everything else, with an empty ``photo_srgb`` and ``valid``.
    * ``valid_box``: top, left, bottom, right of the photo within each crop, pixels.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    fits: CropBatch
    valid_box: tuple[tuple[int, int, int, int], ...]
    size: int

    def __len__(self) -> int:
        return len(self.ids)

    def pick(self, rows: Sequence[int]) -> CropTable:
        """Return some rows."""
        return CropTable(
            tuple(self.ids[row] for row in rows),
            tuple(self.paths[row] for row in rows),
            self.fits.pick(torch.tensor(list(rows), dtype=torch.long)),
            tuple(self.valid_box[row] for row in rows),
            self.size,
        )

    def split(self, held_out_share: float) -> tuple[CropTable, CropTable]:
        """Return rows to train on and rows to look at; a face's side depends on its id alone."""
        held = [_fraction(face_id) < held_out_share for face_id in self.ids]
        kept = self.pick([row for row, out in enumerate(held) if not out])
        return kept, self.pick([row for row, out in enumerate(held) if out])

    def digest(self) -> str:
        """Hash of ids and fits: runs on other data are other runs."""
        total = hashlib.sha256("\n".join(self.ids).encode())
        fits = self.fits
        for tensor in (fits.coefficients.identity_coeffs, fits.coefficients.albedo_coeffs, fits.sh_radiance):
            total.update(tensor.numpy().tobytes())
        return total.hexdigest()


def crop_table(fits: pd.DataFrame, faces: pd.DataFrame, crops: Mapping[str, Path]) -> CropTable:
    """Join what the pipelines `preprocess` and `fit` left.

    Args:
        fits: a row a face, see `preparation`; rows whose status is not "done" are left out.
        faces: the manifest of the crops.
        crops: JPEG of each face, by id.

    Raises:
        TrainingError: not one face was fitted, or crops are of different sizes.
    """
    table = fits[fits["status"] == "done"].merge(faces[["id", "valid_box_px"]], on="id")
    table = table[table["id"].isin(list(crops))].sort_values("id")
    if table.empty:
        raise TrainingError("no fitted face to train on: run the pipelines preprocess and fit on a folder of photos")
    sides = set(table["side_px"].astype(int))
    if len(sides) > 1:
        raise TrainingError(f"the crops have different sizes ({sorted(sides)} px); prepare them again with one crop_px")
    side = sides.pop()

    def column(name: str, *shape: int) -> Tensor:
        rows = np.stack([np.asarray(value, dtype=np.float32) for value in table[name]])
        return torch.from_numpy(rows.reshape(len(table), *shape))

    trust = column("uv_trust", -1)
    coarse = math.isqrt(trust.shape[1])
    batch = CropBatch(
        photo_srgb=torch.zeros(len(table), 3, 0, 0, dtype=torch.uint8),
        valid=torch.zeros(len(table), 1, 0, 0, dtype=torch.uint8),
        uv_trust=trust.reshape(-1, 1, coarse, coarse).to(torch.uint8),
        coefficients=FaceCoefficients(
            column("identity_coeffs", -1), column("expression_coeffs", -1), column("albedo_coeffs", -1)
        ),
        pose=Pose(column("rotation", 3, 3), column("translation", 3)),
        camera=Camera(column("focal_px"), column("principal_px", 2), side, side),
        sh_radiance=column("sh_radiance", 3, 9),
    )
    boxes = tuple(tuple(int(v) for v in box) for box in table["valid_box_px"])
    ids = tuple(str(face_id) for face_id in table["id"])
    return CropTable(ids, tuple(crops[face_id] for face_id in ids), batch, boxes, side)  # type: ignore[arg-type]


class ResidentCrops:
    """All crops on the device. What cannot be read is left out, with a warning."""

    def __init__(self, table: CropTable, device: torch.device) -> None:
        with ThreadPoolExecutor(DECODERS) as pool:
            photos = list(pool.map(lambda path: _decode(path, table.size), table.paths))
        good = [row for row, photo in enumerate(photos) if photo is not None]
        if len(good) < len(photos):
            bad = next(path for path, photo in zip(table.paths, photos, strict=True) if photo is None)
            logger.warning("%d crops cannot be read and are left out, %s first", len(photos) - len(good), bad.name)
        if not good:
            raise TrainingError("not one training crop can be read")
        self.table = table.pick(good)
        pixels = torch.stack([torch.from_numpy(photo) for photo in photos if photo is not None])
        valid = torch.stack([_valid(box, table.size) for box in self.table.valid_box])
        self._batch = _with_pixels(self.table.fits, pixels, valid).to(device)

    def __len__(self) -> int:
        return len(self.table)

    def fetch(self, rows: list[int], device: torch.device) -> CropBatch:
        """Return the crops of these rows."""
        return self._batch.pick(torch.tensor(rows, device=device))

    def expect(self, rows: list[int]) -> None:
        """Nothing to prepare."""


class StreamedCrops:
    """Crops decoded when they are needed; `expect` lets threads begin before.

    A crop that cannot be read is replaced by the next row's, with a warning.
    """

    def __init__(self, table: CropTable) -> None:
        self.table = table
        self._pool = ThreadPoolExecutor(DECODERS)
        self._coming: dict[int, Future[np.ndarray | None]] = {}

    def __len__(self) -> int:
        return len(self.table)

    def expect(self, rows: list[int]) -> None:
        """Begin to decode what will be fetched next; what was expected before and never came is dropped."""
        self._coming = {row: self._coming.get(row) or self._submit(row) for row in rows}

    def fetch(self, rows: list[int], device: torch.device) -> CropBatch:
        """Return the crops of these rows.

        Raises:
            TrainingError: not one crop can be read.
        """
        futures = [self._coming.get(row) or self._submit(row) for row in rows]
        found = [self._readable(row, future.result()) for row, future in zip(rows, futures, strict=True)]
        chosen = self.table.pick([row for row, _ in found])
        pixels = torch.stack([torch.from_numpy(photo) for _, photo in found])
        valid = torch.stack([_valid(box, self.table.size) for box in chosen.valid_box])
        batch = _with_pixels(chosen.fits, pixels, valid)
        return (batch._map(Tensor.pin_memory) if device.type == "cuda" else batch).to(device)

    def _submit(self, row: int) -> Future[np.ndarray | None]:
        return self._pool.submit(_decode, self.table.paths[row], self.table.size)

    def _readable(self, row: int, photo: np.ndarray | None) -> tuple[int, np.ndarray]:
        for step in range(len(self.table)):
            if photo is not None:
                return row, photo
            logger.warning("%s cannot be read; another crop takes its place", self.table.paths[row].name)
            row = (row + 1) % len(self.table)
            photo = _decode(self.table.paths[row], self.table.size) if step < len(self.table) else None
        raise TrainingError("not one training crop can be read")


def crop_source(table: CropTable, device: torch.device) -> ResidentCrops | StreamedCrops:
    """Hold the crops on the device if they take a fair part of its free memory at most, else stream them."""
    needed = len(table) * 4 * table.size**2
    if device.type == "cuda" and needed > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return StreamedCrops(table)
    if device.type == "cpu" and needed > 4 * 2**30:
        return StreamedCrops(table)
    return ResidentCrops(table, device)


def _with_pixels(fits: CropBatch, photo_srgb: UInt8[Tensor, "batch 3 h w"], valid: Tensor) -> CropBatch:
    return CropBatch(photo_srgb, valid, fits.uv_trust, fits.coefficients, fits.pose, fits.camera, fits.sh_radiance)


def _decode(path: Path, size: int) -> np.ndarray | None:
    """Return a crop as RGB, channels first; None if it cannot be read or has another size."""
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None or image.shape[:2] != (size, size):
        return None
    return np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))


def _valid(box: Sequence[int], size: int) -> UInt8[Tensor, "1 size size"]:
    """255 where a crop holds photo."""
    valid = torch.zeros(1, size, size, dtype=torch.uint8)
    top, left, bottom, right = box
    valid[:, top:bottom, left:right] = 255
    return valid


def _fraction(face_id: str) -> float:
    """A number in [0, 1) that depends on the id alone."""
    return int.from_bytes(hashlib.sha256(face_id.encode()).digest()[:6], "big") / 2**48
