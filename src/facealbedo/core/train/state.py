"""What training changes: weights, their running mean, and the optimiser's moments."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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


def fresh_state(config: TrainConfig, device: torch.device, synchronise_norms: bool = False) -> TrainState:
    """Make a network with weights from the configuration's seed.

    Args:
        config: of the run.
        device: where to train.
        synchronise_norms: let batch norms see the batches of all ranks.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(config.seed, "weights"))
        refiner = build_refiner(config.network)
    average = copy.deepcopy(refiner).requires_grad_(False).eval()
    if synchronise_norms:
        refiner = nn.SyncBatchNorm.convert_sync_batchnorm(refiner)
    refiner = refiner.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = average.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(refiner.parameters(), lr=config.learning_rate, betas=(0.9, 0.999), fused=True)
    return TrainState(refiner.train(), average, optimizer)


@torch.no_grad()
def update_average(state: TrainState, decay: float, found_bad: Tensor) -> None:
    """Move the running mean towards the weights and the norms' statistics; not at all after a bad step.

    Early on the decay is smaller, so that the mean forgets the random start.
    """
    warm = min(decay, (1 + state.step) / (10 + state.step))
    share = (1 - warm) * (1 - found_bad)
    means, values = [], []
    for (_, mean), (_, value) in zip(_tensors(state.average), _tensors(state.refiner), strict=True):
        if mean.is_floating_point():
            means.append(mean)
            values.append(value.detach())
        else:
            mean.copy_(value)
    # After a bad step the statistics may hold NaN, and 0 x NaN is NaN: look only at what is finite.
    steps = torch._foreach_sub(values, means)
    torch._foreach_mul_(steps, share)
    torch._foreach_add_(means, [step.nan_to_num_(0.0, 0.0, 0.0) for step in steps])


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return list(module.state_dict().items())
