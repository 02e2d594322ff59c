"""Experiments in MLflow: runs with their parameters, numbers, pictures and reports. The one place that knows MLflow.

Without an active run everything here does nothing, but for the history that a training writes to a file of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
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
import yaml
from matplotlib.figure import Figure
from pydantic import BaseModel

import facealbedo
from facealbedo.assets.provenance import checkout
from facealbedo.datasets.face_folders import is_running

# MLflow takes this many characters of a parameter, and this many parameters at once.
_LONGEST, _MOST = 500, 100


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
    def current(cls, path: Path) -> TrackingLog:
        """Log to the active MLflow run, if there is one."""
        run = mlflow.active_run()
        return cls(path) if run is None else cls(path, mlflow.get_tracking_uri(), run.info.run_id)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Take numbers of a step."""
        with self.path.open("a", encoding="utf-8") as stream:
            # The line end comes first: what follows a line that was cut off when the process was killed stays whole.
            stream.write("\n" + json.dumps({"step": step, **values}))
        if self.run_id:
            finite = {name: value for name, value in values.items() if np.isfinite(value)}
            self._client().log_batch(self.run_id, [_metric(name, value, step) for name, value in finite.items()])

    def picture(self, step: int, image_srgb: Any) -> None:
        """Take a picture, [3, height, width] in [0, 1]."""
        if self.run_id:
            codes = (image_srgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            self._client().log_image(self.run_id, codes, artifact_file=f"pictures/step_{step:07d}.jpg")

    def history(self) -> pd.DataFrame:
        """Return what was logged: a row a step, a column a name, the newest where a step was made twice."""
        rows: dict[int, dict[str, float]] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # cut off, or empty
                continue
            rows.setdefault(entry["step"], {}).update(entry)
        names = sorted({name for row in rows.values() for name in row} - {"step"})
        return pd.DataFrame([rows[step] for step in sorted(rows)], columns=["step", *names])

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


def open_run(uri: str, experiment: str, pipeline: str, params: Mapping[str, BaseModel], env: str) -> None:
    """Begin a run, or use the one that is active, and say what is known before it starts.

    Args:
        uri: of the store.
        experiment: its name; made if need be.
        pipeline: what runs.
        params: its parameters by name: each field becomes a parameter under a dotted name, all of them
            `configuration.yml`, which can be given to Kedro again.
        env: Kedro's environment.
    """
    if mlflow.active_run() is None:
        _choose(uri, experiment)
        _end_killed_runs(experiment)
        mlflow.start_run(run_name=_run_name(pipeline, params))
    code = checkout() or {}
    tags = {
        "pipeline": pipeline,
        "process": _process(os.getpid()),
        "env": env,
        "git_commit": code.get("commit"),
        "git_modified": code.get("modified"),
        "dvc_lock": _hash_of(Path("dvc.lock")),
        "facealbedo": facealbedo.__version__,
    }
    tag_run(tags)
    trees = {name: model.model_dump(mode="json") for name, model in params.items()}
    log_params({name: str(value)[:_LONGEST] for name, value in _leaves(trees)})
    mlflow.log_text(yaml.safe_dump(trees, sort_keys=False), "configuration.yml")


def close_run(status: str) -> None:
    """End the active run, if there is one: "FINISHED" or "FAILED"."""
    if mlflow.active_run() is not None:
        mlflow.end_run(status)


def tag_run(tags: Mapping[str, Any]) -> None:
    """Tag the active run, if there is one; what is not known (None, empty) is left out."""
    if mlflow.active_run() is not None:
        mlflow.set_tags({name: str(value) for name, value in tags.items() if value not in (None, "")})


def log_text(text: str, name: str) -> None:
    """Keep a text with the active run, if there is one."""
    if mlflow.active_run() is not None:
        mlflow.log_text(text, name)


def log_file(content: bytes, name: str) -> None:
    """Keep a file with the active run, if there is one."""
    if mlflow.active_run() is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(name).name
        path.write_bytes(content)
        mlflow.log_artifact(str(path), str(Path(name).parent) if "/" in name else None)


def log_params(values: Mapping[str, str]) -> None:
    """Log parameters to the active run, if there is one."""
    if mlflow.active_run() is not None:
        rows = list(values.items())
        for start in range(0, len(rows), _MOST):
            mlflow.log_params(dict(rows[start : start + _MOST]))


def log_model(weights: bytes, card: Mapping[str, Any]) -> None:
    """Keep trained weights with the active run, and tag it with what they were trained on."""
    names = ("preset", "fingerprint", "photos", "steps")
    tag_run({name: card[name] for name in names} | {"data": card["data"], "weights": _digest(weights)})
    log_file(weights, "weights/refiner.safetensors")


def log_result(metrics: Mapping[str, float], grid_png: bytes, card: str) -> None:
    """Log final measures, picture grid and model card to the active run, if there is one."""
    log_final(metrics)
    log_text(card, "model_card.md")
    log_file(grid_png, "held_out.png")


def log_final(metrics: Mapping[str, float]) -> None:
    """Log final measures to the active run, if there is one."""
    if mlflow.active_run() is not None:
        mlflow.log_metrics({f"final/{name}": value for name, value in metrics.items() if np.isfinite(value)})


def log_set(metrics: Mapping[str, Any], page: bytes, figure: Figure) -> None:
    """Log a measured set to the active run, if there is one: means, every number, page and plot, and what was used."""
    if mlflow.active_run() is None:
        return
    name = metrics["set"]
    means = {
        f"{name}/{geometry}/{method}/{measure}".replace(" ", "_"): interval["value"]
        for geometry, table in metrics["tables"].items()
        for method, row in table.items()
        for measure, interval in row["mean"].items()
    }
    mlflow.log_metrics({key: value for key, value in means.items() if np.isfinite(value)})
    mlflow.log_dict(dict(metrics), f"{name}/metrics.json")
    log_file(page, f"{name}/index.html")
    mlflow.log_figure(figure, f"{name}/plot.png")
    hashes = {f"weights.{method}": value for method, value in metrics["methods"].items() if value != "built in"}
    tag_run({"size": metrics["size"], "code": metrics["code"], "data": metrics.get("truth_sha256"), **hashes})


def _choose(uri: str, experiment: str) -> None:
    """Make an experiment the current one; what its runs keep lies beside the store, wherever the process stands."""
    mlflow.set_tracking_uri(uri)
    if mlflow.get_experiment_by_name(experiment) is None:
        beside = Path(uri.removeprefix("sqlite:///")).resolve().parent if uri.startswith("sqlite:///") else None
        mlflow.create_experiment(experiment, (beside / "mlruns" / experiment).as_uri() if beside else None)
    mlflow.set_experiment(experiment)


def _process(number: int | str) -> str:
    return f"{socket.gethostname()}:{number}"


def _end_killed_runs(experiment: str) -> None:
    """Mark the runs as killed that still count as running though their process on this machine is gone."""
    client = mlflow.MlflowClient()
    place = client.get_experiment_by_name(experiment)
    for run in client.search_runs([place.experiment_id], "attributes.status = 'RUNNING'") if place else ():
        name = run.data.tags.get("process", "")
        number = name.rpartition(":")[2]
        if name == _process(number) and not is_running(number):
            client.set_terminated(run.info.run_id, "KILLED")


def _run_name(pipeline: str, params: Mapping[str, BaseModel]) -> str:
    """Return what distinguishes runs at a glance: preset or size, and the commit."""
    model = params.get(pipeline)
    kind = getattr(model, "preset", None) or getattr(model, "size", None) or pipeline
    return f"{kind} {((checkout() or {}).get('commit') or '')[:7]}".strip()


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dictionaries and lists of them under dotted names."""
    rows = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in rows:
        name = f"{prefix}.{key}" if prefix else str(key)
        if value and (isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict))):
            yield from _leaves(value, name)
        else:
            yield name, value


def _hash_of(path: Path) -> str:
    return _digest(path.read_bytes()) if path.is_file() else ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _metric(name: str, value: float, step: int) -> mlflow.entities.Metric:
    return mlflow.entities.Metric(name, float(value), int(time.time() * 1000), step)
