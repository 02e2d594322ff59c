"""The refinement network that ships with the package; `kedro run --env gpu --pipelines train` trains it again."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from facealbedo.core.networks.refiner import Refiner
from facealbedo.core.train.checkpoint import weights_from_bytes

REFINER_FILE = "refiner.safetensors"


@lru_cache(maxsize=1)
def load_refiner() -> Refiner:
    """Return the embedded network (CPU, float32, for inference); read once a process."""
    return weights_from_bytes(refiner_bytes())[0]


def refiner_bytes() -> bytes:
    """Return the embedded weight file."""
    return (files("facealbedo.assets") / REFINER_FILE).read_bytes()
