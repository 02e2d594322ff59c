"""Numbers and pictures of a training, to MLflow and to a file beside the checkpoint."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd


@dataclass(frozen=True)
class TrackingLog:
    """Implements `core.train.loop.TrainLog`; can be sent to another process.

    The file makes the history independent of MLflow, and lets a resumed training go on with one history: rows of
    steps that are made again replace the older ones.

    Attributes:
        path: JSON lines.
        tracking_uri, run_id: of the MLflow run; empty when nothing is tracked.
    """

    path: Path
    tracking_uri: str = ""
    run_id: str = ""

    @classmethod
    def current(cls, path: Path, fingerprint: str, preset: str) -> TrackingLog:
        """Log to the active MLflow run, if there is one, and tag it."""
        run = mlflow.active_run()
        if run is None:
            return cls(path)
        tags = {"preset": preset, "fingerprint": fingerprint, "git_commit": git_commit()}
        mlflow.set_tags({name: value for name, value in tags.items() if value})
        return cls(path, mlflow.get_tracking_uri(), run.info.run_id)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Take numbers of a step."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")
        if self.run_id:
            finite = {name: value for name, value in values.items() if np.isfinite(value)}
            self._client().log_batch(self.run_id, [_metric(name, value, step) for name, value in finite.items()])

    def picture(self, step: int, image_srgb: Any) -> None:
        """Take a picture, [3, height, width] in [0, 1]."""
        if self.run_id:
            codes = (image_srgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            self._client().log_image(self.run_id, codes, artifact_file=f"pictures/step_{step:07d}.jpg")

    def history(self) -> pd.DataFrame:
        """Return what was logged: step, name, value; the newest where a step was made twice."""
        rows: dict[tuple[int, str], float] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # cut off when the process was killed
                continue
            step = entry.pop("step")
            rows.update({(step, name): value for name, value in entry.items()})
        keys = sorted(rows)
        return pd.DataFrame(
            {"step": [k[0] for k in keys], "name": [k[1] for k in keys], "value": [rows[k] for k in keys]}
        )

    def _client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.tracking_uri)


@contextmanager
def child_run(name: str, path: Path, tags: Mapping[str, str]) -> Iterator[TrackingLog]:
    """Open a run below the active MLflow run and log to it; without an active one, log to the file alone."""
    if mlflow.active_run() is None:
        yield TrackingLog(path)
        return
    with mlflow.start_run(run_name=name, nested=True, tags=dict(tags)) as run:
        yield TrackingLog(path, mlflow.get_tracking_uri(), run.info.run_id)


def log_text(text: str, name: str) -> None:
    """Keep a text with the active MLflow run, if there is one."""
    if mlflow.active_run() is not None:
        mlflow.log_text(text, name)


def log_params(values: Mapping[str, str]) -> None:
    """Log parameters to the active MLflow run, if there is one."""
    if mlflow.active_run() is not None:
        mlflow.log_params(dict(values))


def log_result(metrics: dict[str, float], grid_png: bytes, card: str) -> None:
    """Log final measures, picture grid and model card to the active MLflow run, if there is one."""
    if mlflow.active_run() is None:
        return
    log_final(metrics)
    mlflow.log_text(card, "model_card.md")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "held_out.png"
        picture.write_bytes(grid_png)
        mlflow.log_artifact(str(picture))


def log_final(metrics: Mapping[str, float]) -> None:
    """Log final measures to the active MLflow run, if there is one."""
    if mlflow.active_run() is not None:
        mlflow.log_metrics({f"final/{name}": value for name, value in metrics.items() if np.isfinite(value)})


def git_commit() -> str:
    """Return the checkout's commit, empty outside one."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _metric(name: str, value: float, step: int) -> mlflow.entities.Metric:
    return mlflow.entities.Metric(name, float(value), int(time.time() * 1000), step)
