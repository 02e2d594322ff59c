"""Nodes of the `reconstruct` pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from facealbedo.params.reconstruct import ReconstructParams

Entries = list[dict[str, Any]]


def reconstruct_faces(
    params: ReconstructParams, journal_before: Entries
) -> Iterator[tuple[dict[str, dict[str, bytes]], Entries]]:
    """Reconstruct every photo that the journal does not have yet, one after the other.

    Yields for each photo the files of its faces (face id, then file name) and the photo's entry for the journal, so
    that all that is finished survives a crash.
    """
    from facealbedo.reconstructor import reconstruct_missing

    # Kedro asks a generator for at least one output, also when all is done already.
    yield {}, []
    for outcome in reconstruct_missing(params, journal_before):
        yield outcome.files, outcome.entries


def summarise(params: ReconstructParams, journal: Entries) -> tuple[bytes, bytes]:
    """Return `summary.csv` and `index.html` over the photos of this run, finished now or earlier."""
    from facealbedo.reconstructor import summarise_journal

    return summarise_journal(params, journal)
