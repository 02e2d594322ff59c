"""What MLflow holds of a run: parameters, tags, numbers, pictures, weights, configuration and report."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from mlflow.entities import Run

from facealbedo import tracking
from facealbedo.benchmarks.train import load_params
from facealbedo.configuration import CONFIG_LOADER_ARGS
from facealbedo.core.train.checkpoint import weights_from_bytes
from facealbedo.hooks import ProjectHooks
from facealbedo.params.evaluate import EvaluateParams
from facealbedo.params.train import TrainParams
from facealbedo.pipelines.train import create_pipeline
from facealbedo.training import make_job
from tests import mlflow_picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[ProjectHooks]:
    """The project's hooks with a store of their own, started as Kedro does."""
    configuration: dict[str, Any] = dict(OmegaConfigLoader(str(ROOT / "conf"), **CONFIG_LOADER_ARGS)["mlflow"])
    configuration["tracking_uri"] = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(configuration["tracking_uri"])
    places = dict.fromkeys(configuration["experiments"].values())
    for name in places:
        mlflow.create_experiment(name, (tmp_path / "artifacts" / name).as_uri())
    made = ProjectHooks()
    made.after_context_created(SimpleNamespace(config_loader={"mlflow": configuration}))  # type: ignore[arg-type]
    yield made
    tracking.close_run("KILLED")


def runs_of(experiment: str) -> list[Run]:
    found = mlflow.MlflowClient().get_experiment_by_name(experiment)
    assert found is not None
    return mlflow.MlflowClient().search_runs([found.experiment_id])


def run_train(hooks: ProjectHooks, params: TrainParams, prepared: tuple[Any, ...], folder: Path) -> dict[str, Any]:
    fits, faces, crops = prepared
    given = {
        "params:train": params, "fits": fits, "faces": faces, "face_crops": crops, "train_checkpoints": folder
    }  # fmt: skip
    catalog = DataCatalog({name: MemoryDataset(value, copy_mode="assign") for name, value in given.items()})
    named = {"pipeline_names": ["preprocess", "train"], "env": "test"}
    hooks.before_pipeline_run(named, create_pipeline(), catalog)
    made = SequentialRunner().run(create_pipeline(), catalog)
    hooks.after_pipeline_run(create_pipeline(), catalog)
    return {name: dataset.load() for name, dataset in made.items()}


@pytest.mark.slow
def test_from_a_training_one_finds_weights_configuration_and_report(
    hooks: ProjectHooks, prepared: tuple[Any, ...], tmp_path: Path
) -> None:
    small = load_params("test")
    trainer = small.trainer.model_copy(update={"steps": 4, "validate_every": 2, "image_every": 4})
    presets = [small.model_copy(update={"trainer": trainer, "preset": preset}) for preset in ("default", "paper")]
    made = {params.preset: run_train(hooks, params, prepared, tmp_path) for params in presets}
    runs = {run.data.params["train.preset"]: run for run in runs_of("train")}
    assert set(runs) == {"default", "paper"}
    for preset, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.info.run_name.startswith(preset)
        outputs = made[preset]
        history = outputs["train_history"]
        assert {"step", "loss", "learning_rate", "images_per_second"} <= set(history)
        assert np.isfinite(history["loss"].dropna()).all()
        assert history["step"].is_monotonic_increasing
        measured = outputs["train_metrics"]["fabricated.delta_e"]
        assert 0 < measured == pytest.approx(run.data.metrics["final/fabricated.delta_e"])
        inside = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path / preset)))
        weights = (inside / "weights" / "refiner.safetensors").read_bytes()
        refiner, card = weights_from_bytes(weights)
        assert sum(parameter.numel() for parameter in refiner.parameters()) < 1e6
        assert card["steps"] == 4
        assert run.data.tags["weights"] == hashlib.sha256(weights).hexdigest()
        configured = TrainParams.model_validate(yaml.safe_load((inside / "configuration.yml").read_text())["train"])
        job = make_job(configured, *prepared, tmp_path)
        assert card["fingerprint"] == run.data.tags["fingerprint"] == job.fingerprint()
        assert job.table is not None
        assert run.data.tags["data"] == job.table.digest()
        assert run.data.tags["preset"] == preset
        assert run.data.tags["env"] == "test"
        assert len(run.data.tags.get("git_commit", "0" * 40)) == 40
        assert f"preset `{preset}`" in (inside / "model_card.md").read_text()
        assert (inside / "held_out.png").read_bytes().startswith(b"\x89PNG")
        assert list((inside / "pictures").iterdir())
    # One can tell two runs apart by what differs.
    differing = {key for key, value in runs["default"].data.params.items() if runs["paper"].data.params[key] != value}
    assert differing == {"train.preset"}


def test_parameters_are_flat_and_none_is_a_tree(hooks: ProjectHooks) -> None:
    params = EvaluateParams(weights={"trained": "x.safetensors"})
    catalog = DataCatalog({"params:evaluate": MemoryDataset(params)})
    configure_project("facealbedo")
    hooks.before_pipeline_run({"pipeline_names": ["evaluate"], "env": None}, pipelines["evaluate"], catalog)
    hooks._close("FAILED")
    (run,) = runs_of("evaluate")
    assert run.info.status == "FAILED"
    assert run.data.params["evaluate.relit.full.photo_trace.samples"] == "24"
    assert run.data.params["evaluate.weights.trained"] == "x.safetensors"
    assert not [name for name, value in run.data.params.items() if value.startswith("{") and len(value) > 2]
    assert run.data.tags["env"] == "base"


def test_runs_of_killed_processes_do_not_stay_running(hooks: ProjectHooks) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mlflow.set_experiment("evaluate")
    for number in (gone.pid, os.getppid()):
        with mlflow.start_run(tags={"process": f"{socket.gethostname()}:{number}"}) as run:
            pass
        mlflow.MlflowClient().update_run(run.info.run_id, status="RUNNING")
    with mlflow.start_run(tags={"process": f"elsewhere:{gone.pid}"}) as run:
        pass
    mlflow.MlflowClient().update_run(run.info.run_id, status="RUNNING")
    catalog = DataCatalog({"params:evaluate": MemoryDataset(EvaluateParams())})
    configure_project("facealbedo")
    hooks.before_pipeline_run({"pipeline_names": ["evaluate"], "env": None}, pipelines["evaluate"], catalog)
    hooks._close("FINISHED")
    newest_first = [run.info.status for run in runs_of("evaluate")]
    assert newest_first == ["FINISHED", "RUNNING", "RUNNING", "KILLED"]


def test_an_evaluation_keeps_numbers_page_plot_and_hashes(hooks: ProjectHooks, tmp_path: Path) -> None:
    figure = plt.figure()
    measured = {"prior": {"mean": {"delta_e": {"value": 2.5}, "lpips": {"value": float("nan")}}}}
    metrics = {
        "set": "relit", "size": "small", "code": "c0de", "truth_sha256": "da7a", "tables": {"fitted": measured},
        "methods": {"prior": "built in", "trained": "ab" * 32},
    }  # fmt: skip
    tracking.log_set(metrics, b"<p>page</p>", figure)  # nothing is recorded: nothing happens
    mlflow.set_experiment("evaluate")
    with mlflow.start_run() as run:
        tracking.log_set(metrics, b"<p>page</p>", figure)
    plt.close(figure)
    stored = mlflow.MlflowClient().get_run(run.info.run_id).data
    assert stored.metrics == {"relit/fitted/prior/delta_e": 2.5}
    assert (stored.tags["data"], stored.tags["weights.trained"]) == ("da7a", "ab" * 32)
    assert "weights.prior" not in stored.tags
    inside = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path / "seen")))
    assert {path.name for path in (inside / "relit").iterdir()} == {"index.html", "metrics.json", "plot.png"}


def test_pipelines_that_make_data_are_not_recorded(hooks: ProjectHooks) -> None:
    hooks.before_pipeline_run({"pipeline_names": ["preprocess", "fit"]}, create_pipeline(), DataCatalog())
    assert mlflow.active_run() is None
    hooks.before_pipeline_run({"pipeline_names": None}, create_pipeline(), DataCatalog())
    assert mlflow.active_run() is None


def test_a_history_that_was_cut_and_made_again_is_one_history(tmp_path: Path) -> None:
    log = tracking.TrackingLog(tmp_path / "log.jsonl")
    log.numbers(2, {"loss": 3.0})
    log.numbers(4, {"loss": 9.0, "rate": 0.5})
    with log.path.open("a") as stream:
        stream.write('\n{"step": 6, "lo')
    log.numbers(4, {"loss": 2.0, "rate": 0.25})
    history = log.history()
    assert list(history.columns) == ["step", "loss", "rate"]
    assert history["step"].tolist() == [2, 4]
    assert history["loss"].tolist() == [3.0, 2.0]
    assert np.isnan(history["rate"][0])


@pytest.mark.slow
@pytest.mark.browser
def test_two_runs_stand_side_by_side_in_a_browser(hooks: ProjectHooks, tmp_path: Path) -> None:
    """MLflow's pages show what differs, on this machine alone, and ask no other."""
    if mlflow_picture.browser() is None:
        pytest.skip("needs Chromium, Node.js and playwright-core in tests/node")
    params = load_params("test")
    for preset, error in (("default", 2.125), ("paper", 3.25)):
        chosen = DataCatalog({"params:train": MemoryDataset(params.model_copy(update={"preset": preset}))})
        hooks.before_pipeline_run({"pipeline_names": ["train"], "env": "test"}, create_pipeline(), chosen)
        tracking.log_final({"fabricated.delta_e": error})
        hooks._close("FINISHED")
    store = tmp_path / "mlflow.db"
    runs = mlflow_picture.newest_of_each_preset(store)
    assert [run.data.params["train.preset"] for run in runs] == ["default", "paper"]
    seen = mlflow_picture.compare(store, runs)
    assert seen["foreign"] == []
    for words in ("train.preset", "final/fabricated.delta_e", "2.125", "3.25"):
        assert words in seen["text"]
    assert "train.trainer.steps" not in seen["text"]  # the same in both
