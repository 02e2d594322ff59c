"""Nodes of the `preprocess` pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from facealbedo.params.prepare import PreprocessParams

Entries = list[dict[str, Any]]


def cut_faces(params: PreprocessParams, journal_before: Entries) -> Iterator[tuple[dict[str, bytes], Entries]]:
    """Yield for each photo not yet done its crops and its entry for the journal."""
    from facealbedo.preparation import find_faces

    # Kedro asks a generator for at least one output, also when all is done already.
    yield {}, []
    for found in find_faces(params, journal_before):
        yield found.crops, found.entries


def tabulate_faces(params: PreprocessParams, journal: Entries) -> pd.DataFrame:
    """Return the manifest of this run's photos."""
    from facealbedo.preparation import faces_table

    return faces_table(params, journal)
