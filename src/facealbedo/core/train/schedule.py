"""The learning rate of a step: a pure function, so that there is nothing to save."""

from __future__ import annotations

import math

from facealbedo.core.train.config import TrainConfig

LAST_SHARE = 0.02
DECAY_START = 0.6


def progress(config: TrainConfig, step: int) -> float:
    """Part of the training that is done when a step begins, in [0, 1]."""
    return min(step / max(config.steps - 1, 1), 1.0)


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of a step, counted from 0."""
    warm = min((step + 1) / max(config.warmup_steps, 1), 1.0)
    done = progress(config, step)
    share = 1.0
    if config.schedule == "cosine":
        share = LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
    elif config.schedule == "decay":
        share = max(LAST_SHARE, min(1.0, (1 - done) / (1 - DECAY_START)))
    return config.learning_rate * warm * share
