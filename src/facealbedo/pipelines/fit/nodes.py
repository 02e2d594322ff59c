"""Nodes of the `fit` pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from facealbedo.params.prepare import FitParams

Entries = list[dict[str, Any]]


def fit_faces(
    params: FitParams, faces: pd.DataFrame, crops: dict[str, Path], journal_before: Entries
) -> Iterator[Entries]:
    """Yield the fit of each face not yet done."""
    from facealbedo.preparation import fit_crops

    # Kedro asks a generator for at least one output, also when all is done already.
    yield []
    yield from fit_crops(params, faces, crops, journal_before)


def tabulate_fits(faces: pd.DataFrame, journal: Entries) -> pd.DataFrame:
    """Return the newest fit of each face."""
    from facealbedo.preparation import fits_table

    return fits_table(faces, journal)
