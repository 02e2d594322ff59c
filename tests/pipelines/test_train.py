"""The train pipeline: wiring, parameters, and the whole way in small, on one process and on two."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from facealbedo.assets.refiner import refiner_bytes
from facealbedo.benchmarks.photos import measure_photos
from facealbedo.benchmarks.train import load_params
from facealbedo.core.losses import LossWeights
from facealbedo.core.networks import PRESETS
from facealbedo.core.networks.presets import NetworkConfig
from facealbedo.core.train.checkpoint import weights_from_bytes
from facealbedo.core.train.config import TrainConfig, TrainingError
from facealbedo.datasets.checkpoints import CheckpointFile
from facealbedo.params.train import LossParams, NetworkParams, TrainParams
from facealbedo.pipelines.train import create_pipeline
from facealbedo.training import make_job, on_devices, run_training, train_config

CONF = Path(__file__).resolve().parents[2] / "conf"


def small(**trainer: Any) -> TrainParams:
    params = load_params("test")
    return params.model_copy(update={"trainer": params.trainer.model_copy(update={"steps": 4, **trainer})})


def test_parameters_say_what_the_core_says():
    """Names and defaults are written twice, for people and for code: they must agree."""
    assert LossParams().model_dump() == vars(LossWeights())
    assert NetworkParams().model_dump() == vars(NetworkConfig())
    params = load_params("base")
    assert train_config(params).network == PRESETS["default"]
    paper = train_config(params.model_copy(update={"preset": "paper"}))
    assert paper.network == PRESETS["paper"]
    assert paper.fabricated_share == 0
    assert TrainConfig.__dataclass_fields__["clip_norm"].default == params.trainer.clip_norm


def test_every_dataset_is_in_the_catalog():
    catalog = yaml.safe_load((CONF / "base" / "catalog_train.yml").read_text())
    theirs = {"params:train", "fits", "faces", "face_crops"}
    assert create_pipeline().datasets() - theirs == set(catalog)


@pytest.mark.parametrize("env", ["base", "test", "gpu"], ids="env_{}".format)
def test_every_environment_is_valid(env):
    assert set(load_params(env).presets) == {"default", "paper"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "none"},
        {"trainer": {"steps": 0}},
        {"trainer": {"step": 5}},
        {"trainer": {"resolution": 100}},
        {"presets": {"default": {"weights": {"prior": -1}}}},
        {"presets": {"default": {"weights": {"priors": 1}}}},
        {"presets": {"default": {"fabricated_share": 2}}},
        {"presets": {"default": {"network": {"architecture": "other"}}}},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    tree = {"presets": {"default": {}}} | copy.deepcopy(wrong)
    with pytest.raises(ValidationError):
        TrainParams.model_validate(tree)


def test_prepared_photos_measure_weights(prepared):
    found = measure_photos(*prepared, refiner_bytes())
    assert found["faces"] == (prepared[0]["status"] == "done").sum()
    # The prior knows nothing of these faces; the quotient is the photo, but for the light's limits.
    assert found["prior"]["photos.psnr"] < found["quotient"]["photos.psnr"] < found["network"]["photos.psnr"]
    assert found["prior"]["photos.feature_detail"] < found["network"]["photos.feature_detail"] < 1


@pytest.mark.slow
def test_two_processes_train_one_network(prepared, tmp_path):
    """Two ranks see different faces and end with the same weights, which load like any others."""
    params = small(devices=2, steps=2, validate_every=0, image_every=0)
    job = make_job(params, *prepared, tmp_path)
    trained = run_training(job)
    assert trained.card["faces_seen"] == 2 * 2 * params.trainer.batch_size
    assert job.store().read() is not None
    refiner, _ = weights_from_bytes(trained.weights)
    assert all(bool(value.isfinite().all()) for value in refiner.state_dict().values() if value.is_floating_point())


def threads(device: torch.device, rank: int, world_size: int) -> int:
    """What one of several processes says."""
    return torch.get_num_threads() * world_size


@pytest.mark.slow
def test_several_processes_share_the_cores(monkeypatch):
    # The processes find this module by its name.
    monkeypatch.syspath_prepend(str(CONF.parent))
    # Set, it would decide alone.
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = os.cpu_count() or 1
    assert on_devices(threads, "cpu", 2) <= max(cores, 2)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_stops_one_of_several_processes_is_said(prepared, tmp_path):
    job = make_job(small(devices=2, device="cuda"), *prepared, tmp_path)
    with pytest.raises(TrainingError, match=r"process \d failed: .*asks for CUDA device \d, but there are 0"):
        run_training(job)


def test_settings_data_and_devices_have_checkpoints_of_their_own(prepared, tmp_path):
    one = make_job(small(), *prepared, tmp_path).store().path
    assert one != make_job(small(seed=1), *prepared, tmp_path).store().path
    assert one != make_job(small(devices=2), *prepared, tmp_path).store().path
    assert one == make_job(small(log_every=1, checkpoint_every=1), *prepared, tmp_path).store().path
    fits, faces, crops = prepared
    fewer = dict(list(crops.items())[:-1])
    assert one != make_job(small(), fits, faces, fewer, tmp_path).store().path


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    store = CheckpointFile(tmp_path / "run.safetensors")
    store.write(b"first")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TrainingError, match="the checkpoint before is kept"):
        store.write(b"second")
    assert store.read() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]
