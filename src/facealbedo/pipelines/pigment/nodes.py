"""Nodes of the `pigment` pipeline."""

from __future__ import annotations

from facealbedo.params.pigment import PigmentParams


def train_pigment(params: PigmentParams) -> bytes:
    """Return the trained network as a safetensors file."""
    from facealbedo.core.train.pigment import PigmentTrainingConfig, train_pigment_net
    from facealbedo.training import bare_stage, fabricator_for, pick_device

    stage = bare_stage(params.resolution, pick_device(params.device))
    fabricator = fabricator_for(stage, params.pool_faces, params.seed, held_out=False)
    config = PigmentTrainingConfig(
        steps=params.steps, batch_size=params.batch_size, learning_rate=params.learning_rate, seed=params.seed
    )
    return train_pigment_net(fabricator, config).to_bytes()


def measure_pigment(params: PigmentParams, pigment_file: bytes) -> dict[str, float]:
    """Return how well the network tells pigment from shading on faces and in light that training never saw."""
    from facealbedo.core.networks.pigment_net import PigmentNet
    from facealbedo.core.train.pigment import measure_pigment_net
    from facealbedo.training import bare_stage, fabricator_for, pick_device

    stage = bare_stage(params.resolution, pick_device(params.device))
    fabricator = fabricator_for(stage, params.test_faces, params.seed, held_out=True)
    net = PigmentNet.from_bytes(pigment_file).to(stage.device)
    return measure_pigment_net(net, fabricator, params.test_faces, params.seed + 1)
