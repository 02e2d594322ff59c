"""Fabricated portraits: what they claim to show is what they show."""

from __future__ import annotations

import pytest
import torch

from facealbedo.core.colour import ita_degrees, ita_group, linear_rgb_to_lab
from facealbedo.core.detect import MediapipeDetector
from facealbedo.core.fabricate.portrait import PortraitConfig
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.render.uv import bake_region
from facealbedo.fabricated import load_studio, portraits

CONFIG = PortraitConfig(size_px=320, texture_px=256)


def test_same_seed_same_picture() -> None:
    first, second = portraits(1, 3, CONFIG), portraits(1, 3, CONFIG)
    assert torch.equal(first.image, second.image)
    assert not torch.equal(first.image, portraits(1, 4, CONFIG).image)


def test_albedo_has_the_tone_that_was_asked_for() -> None:
    groups = torch.tensor([0, 2, 3, 5])
    made = portraits(4, 1, CONFIG, groups)
    core = bake_region(load_studio(True).model, "core_skin", 256) > 0.9
    median = made.uv_albedo[:, :, core].median(-1).values
    found = ita_group(ita_degrees(linear_rgb_to_lab(median)))
    # Freckles and blotches move the median by a few degrees: a neighbour is allowed.
    assert (found - groups).abs().max() <= 1


@pytest.mark.slow
def test_an_independent_detector_finds_the_landmarks_where_they_are() -> None:
    made = portraits(6, 11, CONFIG)
    studio = load_studio(True)
    world = studio.model.decode(made.coefficients.identity_coeffs, made.coefficients.expression_coeffs)
    truth = project(world_to_view(studio.model.landmarks(world), made.pose), made.camera)
    detector = MediapipeDetector()
    for index in range(6):
        photo = decode_image(encode_png_srgb(made.image[index]))
        (face,) = detector.detect(photo.srgb)
        error = (torch.from_numpy(face.landmarks_px[:468]).float() - truth[index, :468]).norm(dim=-1)
        width = truth[index, :468, 0].max() - truth[index, :468, 0].min()
        assert error.median() < 0.04 * width
