"""Which crops a step sees, and its randomness: pure functions of seed, step and rank, so a resumed run is the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ShuffledRows:
    """Rows in a new random order each epoch, split among ranks without overlap; its position is the step.

    Attributes:
        count: how many rows there are.
        batch_size: rows a step and rank.
        seed: of the orders.
        rank, world_size: which share of each step's rows.
    """

    count: int
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def rows(self, step: int) -> list[int]:
        """Return the rows of a step. The last batch of an epoch goes on into the next."""
        if self.batch_size == 0:
            return []
        start = (step * self.world_size + self.rank) * self.batch_size
        wanted = range(start, start + self.batch_size)
        orders = {epoch: self._order(epoch) for epoch in {position // self.count for position in wanted}}
        return [orders[position // self.count][position % self.count] for position in wanted]

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, "order", epoch))
        return torch.randperm(self.count, generator=generator).tolist()


def mixed_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A seed for one purpose, unrelated to those of other purposes and numbers; 63 bits."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def step_generator(seed: int, step: int, rank: int, device: torch.device | str) -> torch.Generator:
    """Randomness of one step on one rank."""
    return torch.Generator(device).manual_seed(mixed_seed(seed, "step", step, rank))
