"""What the processes of one training tell each other after every backward pass."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn


class Exchange:
    """Averages gradients and the norms' statistics over all processes, in one message a step.

    The network itself knows nothing of other processes: forward and backward pass stay what a compiler and a recording
    of launches see on one device. Batch norms look at their own process's faces, as many as on one device, and all
    processes keep the mean of what they saw. Every process starts from the same seed and makes the same step, so
    weights never differ.
    """

    def __init__(self, network: nn.Module, world_size: int) -> None:
        self._parameters = list(network.parameters())
        self._statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self._world_size = world_size

    @torch.no_grad()
    def average(self) -> None:
        """Replace gradients and statistics by their means over the processes; nothing to do for a single one."""
        if self._world_size == 1:
            return
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        values = list(chain(gradients, self._statistics))
        message = torch.cat([value.flatten() for value in values])
        torch.distributed.all_reduce(message)
        message /= self._world_size
        parts = message.split([value.numel() for value in values])
        torch._foreach_copy_(values, [part.view(value.shape) for part, value in zip(parts, values, strict=True)])
