"""The set `relit` is the same however many threads torch has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from facealbedo.evaluation.relit import make_missing_people
from tests.unit.core.evaluate.conftest import TINY

# Only large maps are summed by several threads.
LARGE = replace(TINY, texture_px=512, photo_px=384)
pytest.importorskip("mitsuba", reason="the path tracer is an extra")


@pytest.mark.slow
def test_people_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(next(iter(make_missing_people(LARGE, "large", {}))))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1]
