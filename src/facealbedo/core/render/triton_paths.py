"""When the fused CUDA kernels of `triton_kernels` may stand in for the torch code beside them."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor


def fused(*tensors: Tensor) -> ModuleType | None:
    """The module `triton_kernels` if it can take these tensors, else None.

    It can where all are on CUDA in one precision, single or double, and nobody asked for reproducible gradients
    (``torch.use_deterministic_algorithms``): its gradients add up in the order in which threads come.
    """
    if any(tensor.device.type != "cuda" for tensor in tensors) or torch.are_deterministic_algorithms_enabled():
        return None
    kinds = {tensor.dtype for tensor in tensors}
    if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
        return None
    return _module()


@lru_cache(maxsize=1)
def _module() -> ModuleType | None:
    if importlib.util.find_spec("triton") is None:
        return None
    return importlib.import_module("facealbedo.core.render.triton_kernels")
