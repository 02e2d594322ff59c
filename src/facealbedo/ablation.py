"""Ablations: the same training again and again, each time with one part of the method left out, and one table of them.

What the pipeline `ablate` calls. Each training has a checkpoint of its own (`training.TrainJob.store`), so a list that
was stopped goes on where it was; one that was measured is not trained again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch

from facealbedo.core.train.config import TrainingError
from facealbedo.params.ablate import AblateParams, AblationParams
from facealbedo.params.train import TrainParams
from facealbedo.tracking import TrackingLog, child_run, log_final, log_params, log_result
from facealbedo.training import Judge, TrainJob, make_job, model_card_text, run_training

logger = logging.getLogger(__name__)
# Columns of the Markdown table; `metrics.json` and `table.csv` have all.
SHOWN = {
    "fabricated.delta_e_aligned": ("ΔE aligned", 2),
    "fabricated.delta_e": ("ΔE", 2),
    "fabricated.ita_error": ("ITA error, °", 2),
    "photos.psnr": ("PSNR, dB", 2),
    "photos.ssim": ("SSIM", 3),
    "photos.leakage": ("leakage", 3),
    "photos.light_kept": ("light kept", 3),
    "photos.left_right": ("left-right", 2),
    "photos.skin_detail": ("skin detail", 2),
    "photos.feature_detail": ("feature detail", 2),
}


@dataclass(frozen=True)
class Data:
    """What trainings learn from: tables of fits and faces, files of crops, and the folder of checkpoints."""

    fits: pd.DataFrame
    faces: pd.DataFrame
    crops: Mapping[str, Path]
    checkpoints: Path

    def job(self, params: TrainParams) -> TrainJob:
        """Return the training with these parameters."""
        return make_job(params, self.fits, self.faces, self.crops, self.checkpoints)


@dataclass(frozen=True)
class Planned:
    """One training of a row.

    Attributes:
        row: of the table. seed: of this training.
        params: of this training. measured: of the first one, which decides on which faces all are measured.
    """

    row: AblationParams
    seed: int
    params: TrainParams
    measured: TrainParams

    @property
    def name(self) -> str:
        """Of its record."""
        return f"{self.row.name}-{self.seed}"

    def key(self, job: TrainJob) -> str:
        """Hash of everything that the numbers depend on."""
        measured = self.measured
        made = measured.fabrication.model_dump(mode="json")
        parts = [job.fingerprint(), measured.trainer.seed, made, measured.validation.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """What a training came to: JSON in a file of its own.

    Attributes:
        name: row and seed. key: see `Planned.key`.
        seed, steps, faces_seen, data: of the training; see `training.model_card`.
        metrics: means over held-out faces; without those of which no face has one. baselines: the same of what was not
            trained.
    """

    name: str
    key: str
    seed: int
    steps: int
    faces_seen: int
    data: str
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]

    def to_json(self) -> bytes:
        """Return the file's content."""
        return (json.dumps(asdict(self), indent=1, allow_nan=False) + "\n").encode()


def plan(params: AblateParams, train: TrainParams) -> list[Planned]:
    """Return every training of the list, in its order.

    Raises:
        TrainingError: a row names a preset that `train` does not have.
    """
    try:
        first = params.training(params.rows[0], train, params.seed)
        return [
            Planned(row, seed, params.training(row, train, seed), first)
            for row in params.rows
            for seed in range(params.seed, params.seed + row.seeds)
        ]
    except ValueError as error:
        raise TrainingError(str(error)) from error


def run_all(planned: Sequence[Planned], data: Data, before: Mapping[str, Path]) -> Iterator[dict[str, bytes]]:
    """Train and measure what was not yet; yield every record under its name.

    Raises:
        TrainingError: one failed, named; those before it are kept.
    """
    judge = Judge(data.job(planned[0].measured))
    for number, one in enumerate(planned, 1):
        job = data.job(one.params)
        found = read_record(before.get(one.name))
        done = found if found is not None and found.key == one.key(job) else None
        logger.info("%d of %d: %s%s", number, len(planned), one.name, ", measured before" if done else "")
        tags = {"row": one.row.name, "fingerprint": job.fingerprint(), "measured_before": str(bool(done)).lower()}
        with child_run(one.name, job.store().path.with_suffix(".jsonl"), tags) as log:
            log_params({"row": one.row.name, "seed": str(one.seed), "change": json.dumps(one.row.written)[:500]})
            if done:
                log_final(done.metrics)
            record = done or _run_one(one, job, judge, log)
        yield {one.name: record.to_json()}


def _run_one(one: Planned, job: TrainJob, judge: Judge, log: TrackingLog) -> Record:
    """Train, or go on from the checkpoint, and measure."""
    # Every training compiles the same function anew; after a few of them torch would stop compiling it.
    torch.compiler.reset()
    try:
        trained = run_training(job, log)
        report = judge.report(trained.weights)
    except TrainingError as error:
        raise TrainingError(f"{one.name}: {error}") from error
    card = trained.card
    log_result(
        report.metrics, report.grid_png, model_card_text(card, report.metrics, report.baselines, trained.weights)
    )
    return Record(
        name=one.name, key=one.key(job), seed=one.seed, steps=card["steps"], faces_seen=card["faces_seen"],
        data=card["data"], metrics=_known(report.metrics),
        baselines={name: _known(values) for name, values in report.baselines.items()},
    )  # fmt: skip


def read_record(path: Path | None) -> Record | None:
    """Return what `Record.to_json` wrote; None if there is nothing, or nothing whole of this version."""
    if path is None:
        return None
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _known(values: Mapping[str, float]) -> dict[str, float]:
    """Leave out NaN: the mean over no face."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def collect(planned: Sequence[Planned], records: Mapping[str, Path]) -> dict[str, Any]:
    """Return every number of the table: means over seeds, spreads, differences from the first row, baselines.

    Raises:
        TrainingError: a training of the list has no record.
    """
    found = {one.name: read_record(records.get(one.name)) for one in planned}
    missing = [name for name, record in found.items() if record is None]
    if missing:
        raise TrainingError(f"{len(missing)} of {len(planned)} trainings have no record, first {missing[0]}")
    rows = []
    for row in dict.fromkeys(one.row.name for one in planned):
        same = [one for one in planned if one.row.name == row]
        kept = [record for one in same if (record := found[one.name])]
        rows.append({
            "name": row,
            "about": same[0].row.about,
            "preset": same[0].row.preset,
            "change": same[0].row.written,
            "seeds": [record.seed for record in kept],
            "values": over_seeds([record.metrics for record in kept]),
        })  # fmt: skip
    reference = rows[0]["values"]
    for row in rows:
        row["difference"] = {
            name: value["mean"] - reference[name]["mean"] for name, value in row["values"].items() if name in reference
        }
    first = next(record for record in found.values() if record)
    trainer = planned[0].params.trainer
    budget = {"steps": first.steps, "faces_seen": first.faces_seen, "batch_size": trainer.batch_size}
    budget["resolution"] = trainer.resolution
    return {"budget": budget, "data": first.data, "rows": rows, "baselines": first.baselines}


def over_seeds(metrics: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Return each metric's mean, spread (largest minus smallest; None of one seed) and values.

    Only metrics that every seed has.
    """
    names = [name for name in metrics[0] if all(name in other for other in metrics)]
    values = {name: [one[name] for one in metrics] for name in names}
    return {
        name: {"mean": fmean(each), "spread": max(each) - min(each) if len(each) > 1 else None, "each": each}
        for name, each in values.items()
    }


def table(numbers: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows with every metric's mean and spread, then the baselines, which have no seeds."""
    trained = [
        {"name": row["name"], "about": row["about"], "seeds": len(row["seeds"])}
        | {name: value["mean"] for name, value in row["values"].items()}
        | {f"{name}.spread": value["spread"] for name, value in row["values"].items() if value["spread"] is not None}
        for row in numbers["rows"]
    ]
    untrained = [
        {"name": name, "about": "not trained", "seeds": 0} | values for name, values in numbers["baselines"].items()
    ]
    return pd.DataFrame(trained + untrained)


def table_text(numbers: Mapping[str, Any]) -> str:
    """Return the table as Markdown, with the metrics of `SHOWN` that there are."""
    first = numbers["rows"][0]
    shown = {name: how for name, how in SHOWN.items() if name in first["values"]}
    heads = ["row", "what differs", "seeds", *(title for title, _ in shown.values())]
    rows = [
        [row["name"], row["about"], str(len(row["seeds"])), *(_cell(row, first, *item) for item in shown.items())]
        for row in numbers["rows"]
    ]
    for name, values in numbers["baselines"].items():
        cells = [f"{values[key]:.{digits}f}" if key in values else "" for key, (_, digits) in shown.items()]
        rows.append([name, "not trained", "", *cells])
    budget = numbers["budget"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows)]
    return "\n".join([
        f"Each row: {budget['steps']} steps, {budget['faces_seen']} faces seen, batch {budget['batch_size']}, "
        f"{budget['resolution']} texels a side. Means over the same held-out faces; in brackets, largest minus "
        f"smallest over the seeds. ≈: not farther from `{first['name']}` than its own seeds are from each other.",
        "",
        *lines,
        "",
    ])  # fmt: skip


def _cell(row: Mapping[str, Any], first: Mapping[str, Any], name: str, how: tuple[str, int]) -> str:
    if name not in row["values"]:
        return ""
    value, digits = row["values"][name], how[1]
    text = f"{value['mean']:.{digits}f}"
    if value["spread"] is not None:
        text += f" [{value['spread']:.{digits}f}]"
    usual = first["values"][name]["spread"]
    near = row is not first and usual is not None and abs(row["difference"][name]) <= usual
    return text + (" ≈" if near else "")
