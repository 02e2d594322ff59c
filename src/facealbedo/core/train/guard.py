"""Stop before a bad step: nothing that is not finite ever reaches the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facealbedo.core.train.config import TrainingError


class FiniteGuard:
    """Watches loss and gradient on the device, without making it wait.

    The verdict is a tensor that the fused optimiser reads before it writes (torch's own ``found_inf``, for gradient
    scaling): with it set, neither weights nor moments change. It is sticky, so no later step is made either until the
    host has noticed and `raise_if_found` has stopped the run.
    """

    def __init__(self, device: torch.device) -> None:
        self.found = torch.zeros((), device=device)
        self._step = torch.zeros((), device=device)
        self._values = torch.zeros(0, device=device)
        self._names: list[str] = []
        self._on_host: Tensor | None = None
        self._copied: torch.cuda.Event | None = None

    def judge(self, step: int, loss: Tensor, grad_norm: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """Look at a step after its backward pass; return 1 if it or an earlier one was bad."""
        bad = 1 - torch.isfinite(loss.detach() + grad_norm).float()
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(bad, op=torch.distributed.ReduceOp.MAX)
        fresh = bool(self._names)
        self._names = ["loss", "gradient", *terms]
        values = torch.stack([loss.detach(), grad_norm, *(term.float() for term in terms.values())])
        self._values = torch.where(self.found > 0, self._values, values) if fresh else values
        self._step = torch.where(self.found > 0, self._step, float(step))
        self.found.copy_(torch.maximum(self.found, bad))
        self._send()
        return self.found

    def _send(self) -> None:
        if self.found.device.type != "cuda":
            return
        if self._on_host is None:
            self._on_host = torch.zeros((), pin_memory=True)
            self._copied = torch.cuda.Event()
        self._on_host.copy_(self.found, non_blocking=True)
        self._copied.record()  # type: ignore[union-attr]

    def raise_if_found(self, wait: bool = False) -> None:
        """Stop if a bad step is known; on CUDA without ``wait`` only what has already arrived is known.

        Raises:
            TrainingError: naming the step and the terms that were not finite.
        """
        if self._copied is not None and self._on_host is not None and not wait:
            known = self._copied.query() and bool(self._on_host > 0)
        else:
            known = bool(self.found > 0)
        if not known:
            return
        values = dict(zip(self._names, self._values.tolist(), strict=True))
        bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        raise TrainingError(
            f"training stopped before step {int(self._step)} changed the weights: {', '.join(bad) or 'not finite'}. "
            "The last checkpoint is good; a lower learning rate or another seed may get past this."
        )
