"""What the benchmark of the reconstruction computes from its measurements."""

from __future__ import annotations

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.benchmarks.reconstruct import memory_course
from facealbedo.benchmarks.sharpness import _gradient, _kept_gradient

SIZE = 256


def test_memory_that_grows_has_a_slope_and_its_start_does_not_count() -> None:
    start = [100.0, 300.0] * 5
    course = memory_course([*start, *(500.0 + 0.25 * photo for photo in range(90))])
    assert course["after_tenth"] == 500
    assert course["at_end"] == pytest.approx(522.25)
    assert course["slope_per_1000_photos"] == pytest.approx(250)


def test_flat_memory_has_no_slope() -> None:
    assert memory_course([800.0] * 40)["slope_per_1000_photos"] == 0
    assert memory_course([800.0])["slope_per_1000_photos"] == 0


def kept(textures: torch.Tensor) -> dict[str, float]:
    seen = torch.ones(1, 1, SIZE, SIZE)
    gradients = torch.stack([_gradient(texture) for texture in textures]).sum(0)
    return _kept_gradient(load_face_model(), textures.sum(0), seen * len(textures), gradients, SIZE)


def test_faces_upon_each_other_keep_their_gradient_shifted_ones_do_not() -> None:
    texture = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    texture = torch.nn.functional.avg_pool2d(texture, 5, 1, 2)
    together = kept(torch.stack([texture] * 4))
    apart = kept(torch.stack([texture.roll(12 * step, -1) for step in range(4)]))
    for name, share in together.items():
        assert share == pytest.approx(1, abs=1e-4)
        # Four independent fields: the mean's gradient falls with the root of their number.
        assert apart[name] == pytest.approx(0.5, abs=0.12)


def test_gradient_of_a_ramp_is_its_slope() -> None:
    ramp = (0.3 * torch.arange(8.0) + 0.4 * torch.arange(8.0)[:, None])[None, None]
    inner = _gradient(ramp)[..., :-1, :-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5))
