"""One small person of the relit set, path traced once."""

from __future__ import annotations

import pytest
import torch

from facealbedo.core.evaluate.path_tracer import TraceConfig
from facealbedo.core.evaluate.relit_files import person_to_files
from facealbedo.core.evaluate.relit_set import RelitConfig, RelitPerson, make_person
from facealbedo.fabricated import load_studio

TINY = RelitConfig(
    people_per_group=1,
    lights=1,
    targets=1,
    photo_px=96,
    target_px=64,
    texture_px=256,
    photo_trace=TraceConfig(samples=6, gloss_samples=2),
    target_trace=TraceConfig(samples=6, gloss_samples=2),
)


@pytest.fixture(scope="session")
def person() -> RelitPerson:
    pytest.importorskip("mitsuba", reason="the path tracer is an optional dependency")
    with torch.no_grad():
        return make_person(load_studio(True), TINY, 3)


@pytest.fixture(scope="session")
def person_files(person: RelitPerson) -> dict[str, bytes]:
    return person_to_files(person, TINY)
