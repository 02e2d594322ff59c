"""Reading safetensors files that say in one metadata entry what they are."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from facealbedo.core.errors import FaceAlbedoError


class TensorFileError(FaceAlbedoError):
    """The bytes are not the file that they should be; the message says why."""


def read_tensor_file(data: bytes, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file and its metadata of this kind.

    Raises:
        TensorFileError: damaged, of another kind, or with values that are not finite.
    """
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][kind])
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TensorFileError(str(error)) from error
    if not isinstance(metadata, dict):
        raise TensorFileError(f"its metadata is no table: {metadata!r}")
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise TensorFileError(f"it is damaged: {min(broken)} has values that are not finite")
    return tensors, metadata
