from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.autograd import gradcheck

from facealbedo.core.losses import albedo_terms as albedo
from facealbedo.core.losses import image_terms as image
from facealbedo.core.losses import light_terms as light
from facealbedo.core.losses.masked import cell_means, charbonnier, erode, masked_mean

B, S = 2, 32


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def rand(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


ONES = torch.ones(B, 1, S, S, dtype=torch.float64)


def test_masked_mean_is_numpys_average(generator):
    values, mask = rand(generator, B, 1, S, S), rand(generator, B, 1, S, S)
    expected = [np.average(values[i].numpy(), weights=mask[i].numpy()) for i in range(B)]
    np.testing.assert_allclose(masked_mean(values, mask).numpy(), expected)
    assert torch.equal(masked_mean(values, torch.zeros_like(mask)), torch.zeros(B, dtype=torch.float64))


def test_erode_is_scipys(generator):
    mask = (rand(generator, 1, 1, S, S) > 0.2).double()
    expected = scipy.ndimage.minimum_filter(mask[0, 0].numpy(), 5, mode="constant", cval=1.0)
    np.testing.assert_array_equal(erode(mask)[0, 0].numpy(), expected)


def test_photometric_is_the_mean_length_and_ignores_burnt_out_pixels(generator):
    photo, render = rand(generator, B, 3, S, S) * 0.9, rand(generator, B, 3, S, S)
    expected = np.linalg.norm(render.numpy() - photo.numpy(), axis=1).mean((1, 2))
    np.testing.assert_allclose(image.photometric_loss(render, photo, ONES).numpy(), expected, rtol=1e-4)
    burnt = photo.clone()
    burnt[:, :, :, :16] = 1.0
    brighter = torch.where(burnt == 1, 1.7, burnt)
    assert (image.photometric_loss(brighter, burnt, ONES) < 2e-3).all()
    darker = torch.where(burnt == 1, 0.5, burnt)
    assert (image.photometric_loss(darker, burnt, ONES) > 0.4).all()


def test_gradient_of_a_ramp_is_its_slope_and_of_an_offset_nothing():
    photo = torch.zeros(B, 3, S, S, dtype=torch.float64)
    ramp = photo + torch.arange(S, dtype=torch.float64) * 0.01
    torch.testing.assert_close(image.gradient_loss(ramp, photo, ONES), torch.full((B,), 0.01).double())
    torch.testing.assert_close(image.gradient_loss(ramp + 0.3, ramp, ONES), torch.zeros(B).double(), atol=1e-12, rtol=0)
    # Halving doubles the slope a pixel: 0.02 + 0.04.
    torch.testing.assert_close(image.multiscale_gradient_loss(ramp, photo, ONES), torch.full((B,), 0.06).double())


def test_perceptual_is_zero_for_equal_and_one_for_orthogonal_features():
    a = torch.zeros(B, 4, 8, 8)
    a[:, 0] = 2.0
    b = torch.zeros(B, 4, 8, 8)
    b[:, 1] = 5.0
    mask = torch.ones(B, 1, S, S)
    torch.testing.assert_close(image.perceptual_loss((a, a), (a * 3, a), mask), torch.zeros(B))
    torch.testing.assert_close(image.perceptual_loss((a, a), (b, a), mask), torch.full((B,), 0.5))


def test_albedo_to_prior_closed_form():
    prior = torch.full((B, 3, S, S), 0.4, dtype=torch.float64)
    shifted = prior + torch.tensor([0.03, 0.0, 0.04], dtype=torch.float64).view(1, 3, 1, 1)
    torch.testing.assert_close(
        albedo.albedo_to_prior_loss(shifted, prior, ONES), torch.full((B,), 0.05).double(), atol=1e-4, rtol=0
    )
    expected = math.sqrt(0.05**2 + 0.075**2) - 0.075
    torch.testing.assert_close(
        albedo.albedo_to_prior_loss(shifted, prior, ONES, width=0.075), torch.full((B,), expected).double()
    )


def test_prior_decay_ends():
    assert albedo.prior_decay(0.0) == 1
    assert albedo.prior_decay(1.0) == pytest.approx(0.3)


def test_low_pass_terms_see_tone_and_side_light_but_not_detail():
    detail = torch.zeros(B, 3, S, S, dtype=torch.float64)
    detail[..., ::2] = 0.2
    detail[..., 1::2] = -0.2
    side = torch.linspace(-0.5, 0.5, S, dtype=torch.float64).expand(B, 3, S, S)
    tone = torch.full((B, 3, S, S), 0.3, dtype=torch.float64)
    small = pytest.approx(0, abs=1e-9)
    assert albedo.low_pass_prior_loss(detail, ONES, cell=8).max().item() == small
    assert albedo.low_pass_prior_loss(side, ONES, cell=8).max().item() == small
    expected = math.sqrt(3 * 0.09 + 0.15**2) - 0.15
    assert albedo.low_pass_prior_loss(tone, ONES, cell=8)[0].item() == pytest.approx(expected)
    assert albedo.low_pass_symmetry_loss(detail, ONES).max().item() == small
    assert albedo.low_pass_symmetry_loss(tone, ONES).max().item() == small
    # Means of 8 cells' columns of the ramp, against their mirror image.
    means = np.linspace(-0.5, 0.5, S).reshape(-1, 8).mean(1)
    assert albedo.low_pass_symmetry_loss(side, ONES)[0].item() == pytest.approx(np.abs(means - means[::-1]).mean())


def test_symmetry_has_the_exact_axis_and_pulls_one_side_only(generator):
    half = rand(generator, B, 3, S, S // 2)
    symmetric = torch.cat([half, half.flip(-1)], dim=-1)
    assert albedo.symmetry_loss(symmetric, ONES).max() == 0
    off_by_one = symmetric.roll(1, -1)
    assert albedo.symmetry_loss(off_by_one, ONES).min() > 0.05
    x = rand(generator, B, 3, S, S).requires_grad_()
    albedo.symmetry_loss(x, ONES).sum().backward()
    assert x.grad is not None
    expected = torch.sign(x.detach() - x.detach().flip(-1)) / (3 * S * S)
    torch.testing.assert_close(x.grad, expected)


def test_chroma_smoothness_lets_coloured_edges_pass():
    step = torch.full((B, 3, S, S), 0.3, dtype=torch.float64)
    step[..., S // 2 :] = 0.5
    grey_edge = step.clone()
    coloured = step.clone()
    coloured[:, 1:, :, S // 2 :] = 0.1
    even = albedo.chroma_smoothness_loss(step, grey_edge, ONES, sharpness=80.0)
    free = albedo.chroma_smoothness_loss(step, coloured, ONES, sharpness=80.0)
    # Thirty-one differences a row, one of them 0.2.
    assert even[0].item() == pytest.approx(0.2 / 31, rel=0.25)
    assert free[0].item() < 1e-3 * even[0].item()
    assert albedo.chroma_smoothness_loss(step, grey_edge, torch.zeros_like(ONES)).max() == 0


def test_light_terms_closed_forms(generator):
    fitted = rand(generator, B, 3, 9)
    exact = fitted.reshape(B, 27, 1, 1).expand(B, 27, 4, 4)
    zero = torch.zeros(B, dtype=torch.float64)
    torch.testing.assert_close(light.global_light_loss(exact, fitted), zero)
    torch.testing.assert_close(light.white_light_loss(exact, fitted), zero)
    torch.testing.assert_close(light.light_variation_loss(exact), zero)
    torch.testing.assert_close(light.global_light_loss(exact + math.pi, fitted), zero + 1)
    grey = fitted.mean(1, keepdim=True).expand(B, 3, 9)
    torch.testing.assert_close(light.white_light_loss(grey.reshape(B, 27, 1, 1)), zero)
    expected = (fitted - fitted.mean(1, keepdim=True)).abs().mean((1, 2)) / math.pi
    torch.testing.assert_close(light.white_light_loss(exact), expected)
    ramp = exact + math.pi * 0.1 * torch.arange(4, dtype=torch.float64)
    torch.testing.assert_close(light.light_variation_loss(ramp), zero + 0.1)


def test_truth_terms_know_what_they_measure(generator):
    truth = torch.log(rand(generator, B, 3, S, S) * 0.5 + 0.1)
    brighter = truth + 0.4
    zero = torch.zeros(B, dtype=torch.float64)
    torch.testing.assert_close(albedo.chroma_loss(brighter, truth, ONES), zero, atol=1e-9, rtol=0)
    torch.testing.assert_close(albedo.detail_loss(brighter, truth, ONES), zero, atol=1e-9, rtol=0)
    expected = math.sqrt(3 * 0.16 + 0.05**2) - 0.05
    torch.testing.assert_close(albedo.log_albedo_loss(brighter, truth, ONES), zero + expected)
    redder = truth + torch.tensor([0.3, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
    torch.testing.assert_close(albedo.chroma_loss(redder, truth, ONES), zero + (0.2 + 0.1 + 0.1) / 3)


def test_confidence_is_lowest_at_the_true_variance_and_gives_the_albedo_no_gradient():
    truth = torch.zeros(B, 3, S, S, dtype=torch.float64)
    found = torch.full_like(truth, 0.3).requires_grad_()
    levels = torch.linspace(-6, 2, 81, dtype=torch.float64)
    values = torch.stack([albedo.confidence_nll(found, truth, ONES * level, ONES)[0] for level in levels])
    assert levels[values.argmin()].item() == pytest.approx(math.log(0.09), abs=0.1)
    variance = torch.zeros_like(ONES).requires_grad_()
    albedo.confidence_nll(found, truth, variance, ONES).sum().backward()
    assert found.grad is None
    assert variance.grad is not None


def test_cell_means_and_charbonnier(generator):
    values, mask = rand(generator, B, 3, S, S), rand(generator, B, 1, S, S)
    block = values[1, 2, 8:16, 24:32].numpy()
    expected = np.average(block, weights=mask[1, 0, 8:16, 24:32].numpy())
    assert cell_means(values, mask, 8)[1, 2, 1, 3].item() == pytest.approx(expected)
    assert charbonnier(torch.zeros(1, 3, 1, 1), 0.1).item() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    "term",
    [
        lambda x, y, m: image.photometric_loss(x, y, m),
        lambda x, y, m: image.gradient_loss(x, y, m),
        lambda x, y, m: image.multiscale_gradient_loss(x, y, m, levels=1),
        lambda x, y, m: albedo.albedo_to_prior_loss(x, y, m),
        lambda x, y, m: albedo.albedo_to_prior_loss(x, y, m, width=0.1),
        lambda x, y, m: albedo.low_pass_prior_loss(x - y, m, cell=4),
        lambda x, y, m: albedo.chroma_smoothness_loss(x, y, m),
        lambda x, y, m: albedo.log_albedo_loss(x, y, m),
        lambda x, y, m: albedo.chroma_loss(x, y, m),
        lambda x, y, m: albedo.detail_loss(x, y, m),
    ],
)
def test_gradients_are_those_of_finite_differences(term, generator):
    x, y = rand(generator, 1, 3, 8, 8), rand(generator, 1, 3, 8, 8)
    mask = rand(generator, 1, 1, 8, 8) + 0.5
    assert gradcheck(lambda v: term(v, y, mask), (x.requires_grad_(),))


def test_gradcheck_of_light_terms(generator):
    x, fitted = rand(generator, 1, 27, 3, 3).requires_grad_(), rand(generator, 1, 3, 9)
    assert gradcheck(lambda v: light.white_light_loss(v, fitted), (x,))
    assert gradcheck(lambda v: light.global_light_loss(v, fitted), (x,))
    assert gradcheck(light.light_variation_loss, (x,))


def test_shading_gain_counts_size_and_smooth_part():
    mask = torch.ones(2, 1, 64, 64)
    constant = torch.full((2, 3, 64, 64), -0.2)
    torch.testing.assert_close(light.shading_gain_loss(constant, mask), torch.full((2,), 0.2 + 2 * 0.2))
    stripes = constant * torch.tensor([1.0, -1.0]).repeat(32)
    torch.testing.assert_close(light.shading_gain_loss(stripes, mask), torch.full((2,), 0.2))
    assert light.gain_colour_loss(stripes, mask).abs().max() == 0
    coloured = torch.tensor([0.3, 0.0, -0.3])[:, None, None].expand(2, 3, 64, 64)
    torch.testing.assert_close(light.gain_colour_loss(coloured, mask), torch.full((2,), 0.2))
    torch.testing.assert_close(light.shading_gain_loss(coloured, mask), torch.zeros(2))
