"""Nodes of the `export` pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from facealbedo.params.export import ExportFitsParams

Entries = list[dict[str, Any]]


def export_faces(
    params: ExportFitsParams, fits: pd.DataFrame, faces: pd.DataFrame, crops: dict[str, Path], journal_before: Entries
) -> Iterator[tuple[dict[str, dict[str, bytes]], Entries]]:
    """Yield the files of each fitted face that the journal does not have yet, and its entry."""
    from facealbedo.exporting import export_missing

    # Kedro asks a generator for at least one output, also when all is done already.
    yield {}, []
    yield from export_missing(params, fits, faces, crops, journal_before)


def summarise_exports(params: ExportFitsParams, fits: pd.DataFrame, journal: Entries) -> tuple[bytes, bytes]:
    """Return `summary.csv` and `index.html` over the fitted faces."""
    from facealbedo.exporting import summarise

    return summarise(params, fits, journal)
