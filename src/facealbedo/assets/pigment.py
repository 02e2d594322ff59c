"""The pigment network that ships with the package; `kedro run --env gpu --pipelines pigment` trains it again."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from facealbedo.core.networks.pigment_net import PigmentNet

PIGMENT_FILE = "pigment_net.safetensors"


@lru_cache(maxsize=1)
def load_pigment_net() -> PigmentNet:
    """Return the embedded network (CPU, float32, for inference); read once a process."""
    return PigmentNet.from_bytes((files("facealbedo.assets") / PIGMENT_FILE).read_bytes())
