"""The pipeline that trains the pigment network, in small."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from facealbedo.core.networks.pigment_net import PigmentNet
from facealbedo.params.pigment import PigmentParams
from facealbedo.pipelines.pigment.nodes import measure_pigment, train_pigment


def test_the_nodes_train_and_measure() -> None:
    params = PigmentParams(device="cpu", steps=3, batch_size=2, resolution=64, pool_faces=4, test_faces=4)
    content = train_pigment(params)
    assert PigmentNet.from_bytes(content).channels == PigmentNet().channels
    measures = measure_pigment(params, content)
    assert all(math.isfinite(value) for value in measures.values())
    assert {"network.error", "colour.error", "nothing.error"} < set(measures)


@pytest.mark.parametrize("wrong", [{"resolution": 100}, {"steps": 0}, {"device": "tpu"}, {"unknown": 1}])
def test_bad_parameters_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        PigmentParams.model_validate(wrong)
