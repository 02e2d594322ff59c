"""The tone estimator that ships with the package; `kedro run --pipelines tone` trains it again."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from facealbedo.core.fit.tone import ToneEstimator

TONE_FILE = "tone_estimator.safetensors"
# The estimator never saw these environments; it is measured on them.
HELD_OUT_ENVIRONMENTS = ("city", "dawn", "lobby", "night", "park", "studio")


@lru_cache(maxsize=1)
def load_tone_estimator() -> ToneEstimator:
    """Return the embedded estimator (CPU, float32); read once a process."""
    return ToneEstimator.from_bytes((files("facealbedo.assets") / TONE_FILE).read_bytes())
