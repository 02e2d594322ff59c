"""Nodes of the `ablate` pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from facealbedo.params.ablate import AblateParams
from facealbedo.params.train import TrainParams


def run_ablations(
    params: AblateParams,
    train: TrainParams,
    fits: pd.DataFrame,
    faces: pd.DataFrame,
    crops: dict[str, Path],
    checkpoints: Path,
    before: dict[str, Path],
) -> Iterator[dict[str, bytes]]:
    """Yield a record (JSON) a training, under its name; those that were measured ``before`` are not trained again."""
    from facealbedo.ablation import Data, plan, run_all

    yield from run_all(plan(params, train), Data(fits, faces, crops, checkpoints), before)


def tabulate_ablations(
    params: AblateParams, train: TrainParams, records: dict[str, Path]
) -> tuple[dict[str, Any], pd.DataFrame, str]:
    """Return every number with its spread over seeds, the same as a table, and that for people (Markdown)."""
    from facealbedo.ablation import collect, plan, table, table_text
    from facealbedo.tracking import log_text

    numbers = collect(plan(params, train), records)
    text = table_text(numbers)
    log_text(text, "ablations.md")
    return numbers, table(numbers), text
