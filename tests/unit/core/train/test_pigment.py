"""Lessons add up, measures have their known answers, and training on fabricated faces pays."""

from __future__ import annotations

import dataclasses

import cv2
import pytest
import torch

from facealbedo.core.networks.pigment_net import PigmentNet
from facealbedo.core.train.blur import blur_each
from facealbedo.core.train.pigment import (
    DevelopmentConfig,
    PigmentTrainingConfig,
    develop,
    make_lesson,
    measure_pigment_net,
    passed,
    train_pigment_net,
)
from facealbedo.training import bare_stage, fabricator_for

SIZE = 64


@pytest.fixture(scope="module")
def fabricator():
    return fabricator_for(bare_stage(SIZE, torch.device("cpu")), 12, seed=1, held_out=False)


@pytest.fixture(scope="module")
def scene(fabricator):
    return fabricator.make(4, torch.Generator().manual_seed(2))


def constant(along: float, off: float) -> PigmentNet:
    """A network whose shares are these everywhere."""
    net = PigmentNet((8, 16))
    with torch.no_grad():
        net.head.bias.copy_(torch.logit(torch.tensor([along, off])))
    return net


def test_pigment_and_shading_are_all_of_the_detail(fabricator, scene):
    for development in (None, DevelopmentConfig()):
        photo = develop(scene, development, torch.Generator().manual_seed(3))
        lesson = make_lesson(photo, fabricator.stage.atlas_mask)
        everything = passed(lesson.split, torch.ones(4, 2, SIZE, SIZE))
        torch.testing.assert_close(everything, lesson.pigment + lesson.shading, atol=2e-5, rtol=0)


def test_undeveloped_faces_keep_their_true_pigment(fabricator, scene):
    plain = DevelopmentConfig(coloured=0.0, chroma_blurred=0.0, blurred=0.0)
    photos = [develop(scene, development, torch.Generator().manual_seed(3)) for development in (None, plain)]
    torch.testing.assert_close(photos[0].log_pigment, photos[1].log_pigment, atol=1e-5, rtol=0)
    torch.testing.assert_close(photos[0].log_ratio, photos[1].log_ratio, atol=1e-5, rtol=0)


def test_faces_without_truth_teach_nothing(scene):
    with pytest.raises(ValueError, match="known"):
        develop(dataclasses.replace(scene, truth=None), None, torch.Generator())


def test_each_picture_has_its_own_blur():
    """Against OpenCV, away from the border."""
    values = torch.rand(3, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    found = blur_each(values, torch.tensor([0.3, 0.8, 1.2]), radius=4)
    for entry, sigma in enumerate((0.3, 0.8, 1.2)):
        expected = cv2.GaussianBlur(values[entry].permute(1, 2, 0).numpy(), (9, 9), sigma)
        torch.testing.assert_close(
            found[entry].permute(1, 2, 0)[4:-4, 4:-4], torch.from_numpy(expected)[4:-4, 4:-4], atol=1e-5, rtol=0
        )


def test_passing_everything_keeps_all_pigment_and_all_shading(fabricator):
    found = measure_pigment_net(constant(0.9999, 0.9999), fabricator, 8, seed=5)
    assert found["network.pigment_kept"] == pytest.approx(1, abs=2e-3)
    assert found["network.shading_kept"] == pytest.approx(1, abs=2e-3)
    half = measure_pigment_net(constant(0.5, 0.5), fabricator, 8, seed=5)
    assert half["network.pigment_kept"] == pytest.approx(0.5, abs=1e-3)
    none = measure_pigment_net(constant(1e-6, 1e-6), fabricator, 8, seed=5)
    assert none["network.error"] == pytest.approx(none["nothing.error"], rel=1e-3)


def test_training_tells_pigment_from_shading_better_than_before(fabricator):
    config = PigmentTrainingConfig(steps=60, batch_size=4, block=4, seed=4)
    net = train_pigment_net(fabricator, config)
    trained, before = (measure_pigment_net(each, fabricator, 24, seed=6) for each in (net, constant(0.18, 0.38)))
    assert trained["network.error"] < 0.99 * before["network.error"]
    assert trained["network.error"] < trained["nothing.error"]
    # At 64 texels there is little to see; before, both shares are the same.
    assert trained["network.pigment_kept"] > 1.08 * trained["network.shading_kept"]


def test_training_is_a_function_of_its_seed(fabricator):
    config = PigmentTrainingConfig(steps=3, batch_size=2, block=2, seed=7)
    first, second = (train_pigment_net(fabricator, config).to_bytes() for _ in range(2))
    assert first == second
