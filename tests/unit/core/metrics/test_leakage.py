"""Leakage and detail: known answers, NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from facealbedo.core.colour import linear_to_srgb, luminance
from facealbedo.core.metrics.leakage import (
    brightness_symmetry_error,
    change_kept,
    detail_correlation,
    detail_kept,
    fine_detail,
    left_right_error,
    light_correlation,
    log_luminance,
)
from facealbedo.core.metrics.masks import box_blur_twice, gaussian_blur

SIZE = 64
FULL = torch.ones(1, 1, SIZE, SIZE)


def side_light() -> torch.Tensor:
    ramp = torch.linspace(0.3, 1.0, SIZE).expand(1, 3, SIZE, SIZE)
    return ramp.contiguous()


def rough(seed: int, spread: float = 0.2) -> torch.Tensor:
    noise = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return 0.3 * (spread * noise).exp().expand(-1, 3, -1, -1)


def test_baked_light_correlates_and_clean_albedo_does_not() -> None:
    shading, clean = side_light(), rough(1)
    assert float(light_correlation(0.4 * shading, shading, FULL)) == pytest.approx(1.0, abs=1e-4)
    assert abs(float(light_correlation(clean, shading, FULL))) < 0.05
    mixed = clean * shading
    mask = (torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) > 0.4).float()
    chosen = mask[0, 0].bool()
    expected = stats.pearsonr(log_luminance(mixed)[0, 0][chosen], log_luminance(shading)[0, 0][chosen]).statistic
    assert float(light_correlation(mixed, shading, mask)) == pytest.approx(expected, abs=1e-5)


def test_a_constant_albedo_has_no_correlation() -> None:
    assert float(light_correlation(torch.full((1, 3, SIZE, SIZE), 0.3), side_light(), FULL)) == 0.0


def test_symmetric_maps_have_no_symmetry_error() -> None:
    albedo = rough(3)
    both = (albedo + albedo.flip(-1)) / 2
    for measure in (left_right_error, brightness_symmetry_error):
        assert float(measure(both, FULL)) < 1e-3
        assert float(measure(side_light() * both, FULL)) > 0.3
        torch.testing.assert_close(measure(albedo, FULL), measure(albedo.flip(-1), FULL))


def test_one_half_brighter_gives_the_step_in_codes() -> None:
    albedo = torch.full((1, 3, SIZE, SIZE), 0.2)
    albedo[..., SIZE // 2 :] = 0.4
    codes = linear_to_srgb(torch.tensor([0.2, 0.4])) * 255
    away = FULL.clone()
    away[..., SIZE // 2 - 6 : SIZE // 2 + 6] = 0  # where the blur mixes both halves
    assert float(left_right_error(albedo, away)) == pytest.approx(float(codes[1] - codes[0]), rel=1e-3)


def test_detail_is_measured_by_its_slope() -> None:
    photo = rough(4) * side_light()
    kept = (0.6 * photo.log()).exp()
    assert float(detail_kept(kept, photo, FULL)) == pytest.approx(0.6, abs=1e-3)
    assert float(detail_correlation(kept, photo, FULL)) == pytest.approx(1.0, abs=1e-4)
    assert abs(float(detail_kept(side_light(), photo, FULL))) < 0.1
    slope = stats.linregress(fine_detail(photo).flatten(), fine_detail(kept).flatten()).slope
    assert float(detail_kept(kept, photo, FULL)) == pytest.approx(slope, abs=1e-4)


def test_filters_are_those_of_scipy() -> None:
    values = luminance(rough(5).movedim(1, -1))[:, None]
    array = values[0, 0].numpy()
    twice = ndimage.uniform_filter(ndimage.uniform_filter(array, 5, mode="nearest"), 5, mode="nearest")
    np.testing.assert_allclose(box_blur_twice(values, 5)[0, 0, 5:-5, 5:-5], twice[5:-5, 5:-5], atol=1e-5)
    gaussian = ndimage.gaussian_filter(array, 1.5, mode="mirror", radius=5)
    np.testing.assert_allclose(gaussian_blur(values, 11, 1.5)[0, 0], gaussian, atol=1e-5)


def test_marks_are_kept_by_as_much_as_an_albedo_went_towards_them() -> None:
    plain = rough(5).clone()
    marked = plain.clone()
    marked[..., 20:40, 10:30] *= torch.tensor([0.8, 0.5, 0.4])[:, None, None]
    for share in (0.0, 0.3, 1.0):
        between = 1.7 * plain ** (1 - share) * marked**share  # another exposure counts for nothing
        assert float(change_kept(between, plain, marked, FULL)) == pytest.approx(share, abs=1e-4)
    # Detail of its own that has nothing to do with the marks counts for nothing either; SciPy's slope agrees.
    other = plain * rough(6)
    found = float(change_kept(other, plain, marked, FULL))
    logs = [(values / plain).log() for values in (marked, other)]
    wanted, got = (values - values.mean((2, 3), keepdim=True) for values in logs)
    assert found == pytest.approx(stats.linregress(wanted.flatten(), got.flatten()).slope, abs=1e-4)
    assert abs(found) < 0.1
