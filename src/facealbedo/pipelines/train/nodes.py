"""Nodes of the `train` pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from facealbedo.params.train import TrainParams


def train_refiner(
    params: TrainParams, fits: pd.DataFrame, faces: pd.DataFrame, crops: dict[str, Path], checkpoints: Path
) -> tuple[bytes, dict[str, Any], pd.DataFrame]:
    """Return the trained network (safetensors, 16 bit), its card, and what was logged, a row a step and name."""
    from facealbedo.tracking import TrackingLog, log_model
    from facealbedo.training import make_job, run_training

    job = make_job(params, fits, faces, crops, checkpoints)
    log = TrackingLog.current(job.store().path.with_suffix(".jsonl"))
    trained = run_training(job, log)
    log_model(trained.weights, trained.card)
    return trained.weights, trained.card, log.history()


def describe_model(
    params: TrainParams,
    weights: bytes,
    card: dict[str, Any],
    fits: pd.DataFrame,
    faces: pd.DataFrame,
    crops: dict[str, Path],
) -> tuple[dict[str, float], bytes, str]:
    """Return the network's measures on held-out faces, a picture grid (PNG), and the model card (Markdown)."""
    from facealbedo.tracking import log_result
    from facealbedo.training import measure_model, model_card_text

    report = measure_model(params, weights, fits, faces, crops)
    text = model_card_text(card, report.metrics, report.baselines, weights)
    log_result(report.metrics, report.grid_png, text)
    return report.metrics, report.grid_png, text
