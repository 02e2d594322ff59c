"""Without a GPU, Triton's kernels run in its interpreter: the switch must be set before Triton is imported."""

from __future__ import annotations

import os
import sys

import torch

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ.setdefault("TRITON_INTERPRET", "1")
