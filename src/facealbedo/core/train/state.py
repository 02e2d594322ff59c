"""What training changes: weights, their running mean, and the optimiser's moments."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from facealbedo.core.networks.presets import build_refiner
from facealbedo.core.networks.refiner import Refiner
from facealbedo.core.train.config import TrainConfig
from facealbedo.core.train.sampler import mixed_seed


@dataclass
class TrainState:
    """The mutable part of a run. ``step`` is the number of steps made."""

    refiner: Refiner
    average: Refiner
    optimizer: torch.optim.Optimizer
    step: int = 0
    _tensors: tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]] | None = None

    def tensors(self) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Return floating tensors of mean and network, side by side, and pairs of the others; listed once."""
        if self._tensors is None:
            pairs = list(zip(self.average.state_dict().values(), self.refiner.state_dict().values(), strict=True))
            floating = [pair for pair in pairs if pair[0].is_floating_point()]
            others = [pair for pair in pairs if not pair[0].is_floating_point()]
            self._tensors = ([mean for mean, _ in floating], [value for _, value in floating], others)
        return self._tensors


def fresh_state(config: TrainConfig, device: torch.device) -> TrainState:
    """Make a network with weights from the configuration's seed.

    Args:
        config: of the run.
        device: where to train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(config.seed, "weights"))
        refiner = build_refiner(config.network)
    average = copy.deepcopy(refiner).requires_grad_(False).eval()
    refiner = refiner.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = average.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(refiner.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), fused=True)
    return TrainState(refiner.train(), average, optimizer)


def warm_decay(decay: float, step: int) -> float:
    """Return the decay of a running mean at a step: smaller early on, so that the mean forgets the random start."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(state: TrainState, decay: float) -> None:
    """Move the running mean towards the weights and the norms' statistics.

    After a bad step the statistics may hold NaN; nothing of that is ever saved, because the run stops first (`guard`).
    """
    warm = warm_decay(decay, state.step)
    means, values, counts = state.tensors()
    torch._foreach_lerp_(means, values, 1 - warm)
    for mean, value in counts:
        mean.copy_(value)
