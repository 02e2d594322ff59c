"""What the benchmark of the reconstruction computes from its measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.data import astronaut
from skimage.io import imsave

from facealbedo.assets import load_face_model
from facealbedo.benchmarks.reconstruct import measure_run, memory_course
from facealbedo.benchmarks.sharpness import MeanTexture, feature_boxes
from facealbedo.core.fit.glasses import landmarks_in_atlas
from facealbedo.core.render.uv import bake_region

SIZE = 256
BOXES = {"upper": np.s_[20:120, 20:230], "lower": np.s_[130:240, 20:230]}


def test_memory_that_grows_has_a_slope_and_its_start_does_not_count() -> None:
    start = [100.0, 300.0] * 5
    course = memory_course([*start, *(500.0 + 0.25 * photo for photo in range(90))])
    assert course["after_tenth"] == 500
    assert course["at_end"] == pytest.approx(522.25)
    assert course["slope_per_1000_photos"] == pytest.approx(250)


def test_flat_memory_has_no_slope() -> None:
    assert memory_course([800.0] * 40)["slope_per_1000_photos"] == 0
    assert memory_course([800.0])["slope_per_1000_photos"] == 0


def test_a_run_is_measured_photo_by_photo(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    imsave(photos / "a.png", astronaut()[::2, ::2])
    imsave(photos / "b.png", np.full((64, 64, 3), 128, np.uint8), check_contrast=False)
    imsave(photos / "c.png", astronaut())
    measured = measure_run(photos, tmp_path / "run", most=2)
    assert measured["photos"] == 2
    assert measured["outcomes"] == {"done": 1, "no face was found": 1}
    assert (tmp_path / "run" / "faces" / "summary.csv").is_file()
    # The maps of one face, 1024 texels a side, are some MiB.
    assert 2 < measured["written_mib"] < 50
    assert measured["resident_mib"]["at_end"] > 100


def mean_of(textures: list[np.ndarray]) -> MeanTexture:
    mean = MeanTexture(SIZE)
    for texture in textures:
        mean.add(texture, np.ones((SIZE, SIZE), np.float32))
    return mean


def test_faces_upon_each_other_keep_their_gradient_shifted_ones_do_not() -> None:
    noise = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    texture = F.avg_pool2d(noise, 5, 1, 2)[0, 0, ..., None].repeat(1, 1, 3).numpy()
    together = mean_of([texture] * 4).kept_gradient(BOXES)
    apart = mean_of([np.roll(texture, 12 * step, 1) for step in range(4)]).kept_gradient(BOXES)
    for name, share in together.items():
        assert share["study"] == pytest.approx(1, abs=1e-3)
        assert share["seen"] == pytest.approx(1, abs=1e-3)
        # Four independent fields: the mean's gradient falls with the root of their number.
        assert apart[name]["seen"] == pytest.approx(0.5, abs=0.12)


def test_borders_of_holes_count_in_the_figure_of_the_study_alone() -> None:
    ramp = np.linspace(0.3, 0.7, SIZE, dtype=np.float32)[None, :, None].repeat(SIZE, 0).repeat(3, 2)
    whole, holed = MeanTexture(SIZE), MeanTexture(SIZE)
    seen = np.ones((SIZE, SIZE), np.float32)
    whole.add(ramp, seen)
    seen[60:80, 60:80] = 0
    holed.add(ramp, seen)
    expected, found = (mean.kept_gradient(BOXES)["upper"] for mean in (whole, holed))
    assert expected["study"] == pytest.approx(1, abs=0.02)
    assert found["seen"] == pytest.approx(1, abs=0.02)
    assert found["study"] > 1.5


def test_boxes_hold_the_features_that_they_are_named_for() -> None:
    model = load_face_model()
    boxes = feature_boxes(landmarks_in_atlas(model, SIZE))
    for name, region in {"eyes": "eye_rims", "lips": "lips", "brows": "brows", "nose": "nostrils"}.items():
        place = bake_region(model, region, SIZE)
        assert place[boxes[name]].sum() > 0.9 * place.sum(), name
        assert place[boxes[name]].numel() < 0.1 * SIZE**2
