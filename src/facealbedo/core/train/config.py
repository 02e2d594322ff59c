"""Everything that decides how a training goes, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.losses.total import LossWeights
from facealbedo.core.networks.presets import NetworkConfig


class TrainingError(FaceAlbedoError):
    """Training cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        network: its shape.
        weights: of the loss terms.
        resolution: texels a side of the atlas maps.
        steps: optimiser steps in all.
        batch_size: faces a step on each device, photos and fabricated ones together.
        fabricated_share: part of each batch that is fabricated; 0: purely self-supervised.
        scene_block: steps for which scenes are made at once (fewer, larger launches).
        learning_rate, warmup_steps, schedule: the rate rises linearly over the warm-up, then stays (``constant``),
            falls along a cosine to a fiftieth (``cosine``), or stays for 60 % and falls linearly (``decay``).
        clip_norm: largest length of the gradient; longer ones are shortened to it.
        ema_decay: of the running mean of the weights, which is what training is for.
        flip: mirror half of the photos.
        mixed_precision: compute the network in bfloat16.
        compile: let torch compile network and losses (pays after a minute). cuda_graphs: and record their launches.
        seed: of weights, order, mirror and fabricated faces.
        log_every, validate_every, image_every, checkpoint_every: steps between; 0: never.
    """

    network: NetworkConfig
    weights: LossWeights
    resolution: int = 256
    steps: int = 10_000
    batch_size: int = 32
    fabricated_share: float = 0.25
    scene_block: int = 8
    learning_rate: float = 4e-4
    warmup_steps: int = 50
    schedule: Literal["constant", "cosine", "decay"] = "cosine"
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    flip: bool = True
    mixed_precision: bool = True
    compile: bool = False
    cuda_graphs: bool = False
    seed: int = 0
    log_every: int = 50
    validate_every: int = 0
    image_every: int = 0
    checkpoint_every: int = 1000

    @property
    def n_fabricated(self) -> int:
        """Fabricated faces in each batch."""
        return round(self.batch_size * self.fabricated_share)

    @property
    def n_photos(self) -> int:
        """Photos in each batch."""
        return self.batch_size - self.n_fabricated

    def validate(self) -> None:
        """Check what types cannot.

        Raises:
            TrainingError: naming the setting.
        """
        if min(self.steps, self.batch_size, self.scene_block) < 1:
            raise TrainingError("steps, batch_size and scene_block must be at least 1")
        if not 0 <= self.fabricated_share <= 1:
            raise TrainingError(f"fabricated_share must lie in [0, 1], got {self.fabricated_share}")
        if self.learning_rate <= 0 or self.clip_norm <= 0 or not 0 <= self.ema_decay < 1:
            raise TrainingError("learning_rate and clip_norm must be above 0, ema_decay in [0, 1)")

    def settings(self) -> dict[str, Any]:
        """Return the settings that the result depends on (not how often something is logged), JSON-ready."""
        tree: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for name in ("log_every", "validate_every", "image_every", "checkpoint_every", "compile", "cuda_graphs"):
            tree.pop(name)
        return tree

    def fingerprint(self) -> str:
        """Hash of `settings`."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()
