"""Reader of the FAIR benchmark and of predictions for it, as a user lays them out.

A folder with::

    cases.csv                 columns: case, person; a row a crop
    truth/CASE.png            true albedo in the atlas (any size), sRGB-encoded unless the name ends in .npy
    predictions/CASE.png      predicted albedo, same size
    masks/CASE.png            skin that counts, white; or masks/skin.png for all

``.npy`` arrays [height, width, 3] hold linear values. Both kinds may be mixed.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.metrics.fair import FairCase
from facealbedo.core.metrics.masks import EvaluationError, check_same_size


def read_fair(folder: Path) -> list[FairCase]:
    """Read every case of a folder.

    Raises:
        EvaluationError: a table, a truth, a prediction or a mask is missing, or sizes do not fit.
    """
    table = folder / "cases.csv"
    if not table.is_file():
        raise EvaluationError(f"there is no {table}; it lists the cases, with the columns case and person")
    with table.open(encoding="utf-8", newline="") as lines:
        entries = list(csv.DictReader(lines))
    if not entries or not {"case", "person"} <= entries[0].keys():
        raise EvaluationError(f"{table} needs the columns case and person, and at least one row")
    return [_read_case(folder, entry["case"], entry["person"]) for entry in entries]


def _read_case(folder: Path, name: str, person: str) -> FairCase:
    truth, predicted = (_read_map(folder / kind, name) for kind in ("truth", "predictions"))
    check_same_size(predicted, truth, f"FAIR case {name}: prediction and truth")
    own = folder / "masks" / f"{name}.png"
    skin = _read_mask(own if own.is_file() else folder / "masks" / "skin.png")
    check_same_size(skin, truth[:, :1], f"FAIR case {name}: mask and truth")
    return FairCase(name, person, predicted, truth, skin)


def _read_map(folder: Path, name: str) -> Tensor:
    array, picture = folder / f"{name}.npy", folder / f"{name}.png"
    if array.is_file():
        values = np.load(io.BytesIO(array.read_bytes()), allow_pickle=False)
        if values.ndim != 3 or values.shape[2] != 3:
            raise EvaluationError(f"{array} has shape {values.shape}; expected [height, width, 3]")
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))).float()[None]
    if picture.is_file():
        decoded = decode_image(picture.read_bytes())
        pixels = decoded.linear_pixels(0, decoded.height, 0, decoded.width)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()[None]
    raise EvaluationError(f"FAIR case {name}: neither {array} nor {picture.name} is there")


def _read_mask(path: Path) -> Tensor:
    if not path.is_file():
        raise EvaluationError(f"there is no mask {path}")
    codes = decode_image(path.read_bytes()).srgb
    top = float(np.iinfo(codes.dtype).max)
    return torch.from_numpy(codes.astype(np.float32) / top).mean(2)[None, None]
