"""The albedo prior: tones and groups, symmetry, the manifold of skin colours, resolutions, gradients, its file."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy import stats
from scipy.spatial import cKDTree
from torch import Tensor

from facealbedo.assets import load_face_model
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.core.colour import (
    ITA_GROUPS,
    delta_e_2000,
    ita_degrees,
    ita_group,
    lab_to_linear_rgb,
    linear_rgb_to_lab,
    luminance,
)
from facealbedo.core.face_model import albedo_prior as module
from facealbedo.core.face_model.albedo_prior import (
    COEFFICIENT_NAMES,
    LAYERS,
    N_COEFFICIENTS,
    SKIN_COMPONENTS,
    AlbedoPrior,
    AlbedoPriorError,
    unfold_mirror,
)
from facealbedo.core.face_model.skin import skin_albedo
from facealbedo.core.render.uv import bake_vertices

BARE = slice(SKIN_COMPONENTS, SKIN_COMPONENTS + len(LAYERS))


@pytest.fixture(scope="module")
def prior() -> AlbedoPrior:
    return load_albedo_prior()


def _bare(coeffs: Tensor) -> Tensor:
    """The same faces without any hair."""
    shaven = coeffs.clone()
    shaven[:, BARE] = -30.0
    return shaven


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _core_median(prior: AlbedoPrior, albedo: Tensor) -> Tensor:
    core = (prior.field("core_skin", albedo.shape[-1]) > 0.5).flatten()
    return albedo.flatten(2)[:, :, core].median(-1).values


def _lab(rgb: Tensor) -> Tensor:
    return linear_rgb_to_lab(rgb.movedim(1, -1) if rgb.ndim == 4 else rgb)


def test_the_six_groups_have_equal_mass(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(600, _generator())
    groups = ita_group(ita_degrees(_lab(prior.base_tone(coeffs))))
    assert torch.bincount(groups, minlength=6).tolist() == [100] * 6
    # Not sorted: any part of the draw is mixed.
    assert torch.bincount(groups[:60], minlength=6).min() >= 2
    # What is seen on the decoded faces is what was drawn, up to rounding at the borders.
    seen = ita_group(ita_degrees(_lab(_core_median(prior, prior.decode(_bare(coeffs[:120]), 128)))))
    assert (seen == groups[:120]).float().mean() >= 0.95


def test_counts_differ_by_one_at_most_and_single_draws_are_balanced(prior: AlbedoPrior) -> None:
    for n in (1, 5, 7, 20):
        counts = torch.bincount(module.balanced_groups(n, _generator(n)), minlength=6)
        assert counts.sum() == n
        assert counts.max() - counts.min() <= 1
    generator = _generator(1)
    singles = torch.cat([module.balanced_groups(1, generator) for _ in range(1200)])
    assert torch.bincount(singles, minlength=6).min() > 140
    assert prior.sample(0, generator).shape == (0, N_COEFFICIENTS)


def test_groups_can_be_asked_for(prior: AlbedoPrior) -> None:
    wanted = torch.tensor([5, 5, 0, 3, 1, 2, 4, 5])
    coeffs = prior.sample(8, _generator(), groups=wanted)
    assert torch.equal(ita_group(ita_degrees(_lab(prior.base_tone(coeffs)))), wanted)
    with pytest.raises(ValueError, match="group indices"):
        prior.sample(2, _generator(), groups=torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="group indices"):
        prior.sample(3, _generator(), groups=torch.tensor([0, 1]))


def test_melanin_is_uniform_in_log_within_a_group(prior: AlbedoPrior) -> None:
    melanin, haemoglobin = prior.tone_of(prior.sample(3000, _generator(), groups=torch.full((3000,), 5)))
    assert melanin.max().item() == pytest.approx(math.log(0.62), abs=0.01)
    inside = melanin[melanin > math.log(0.26)]  # whatever the blood, this is group VI
    assert stats.kstest(inside.numpy(), stats.uniform(math.log(0.26), math.log(0.62 / 0.26)).cdf).pvalue > 0.01
    assert haemoglobin.exp().median().item() == pytest.approx(0.033, rel=0.06)
    assert haemoglobin.std().item() == pytest.approx(0.25, rel=0.08)


def test_coefficients_have_unit_variance(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(6000, _generator())
    assert coeffs[:, :SKIN_COMPONENTS].mean(0).abs().max() < 0.05
    torch.testing.assert_close(coeffs[:, :SKIN_COMPONENTS].std(0), torch.ones(SKIN_COMPONENTS), atol=0.04, rtol=0)
    assert (coeffs[:, SKIN_COMPONENTS:-1].std(0) - 1).abs().max() < 0.3
    assert (coeffs[:, -1] == 0).all()


def test_tone_round_trip(prior: AlbedoPrior) -> None:
    melanin, haemoglobin = torch.tensor([-5.0, -3.0, -0.6]), torch.tensor([-3.9, -3.4, -3.0])
    coeffs = prior.coeffs_from_tone(melanin, haemoglobin)
    back = prior.tone_of(coeffs)
    torch.testing.assert_close(back[0], melanin)
    torch.testing.assert_close(back[1], haemoglobin)
    torch.testing.assert_close(prior.base_tone(coeffs), prior.tone_to_rgb(melanin, haemoglobin))
    assert (coeffs[:, 2:] == 0).all()


def test_tone_is_the_median_of_the_core_skin(prior: AlbedoPrior) -> None:
    coeffs = _bare(prior.sample(60, _generator()))
    error = delta_e_2000(_lab(_core_median(prior, prior.decode(coeffs))), _lab(prior.base_tone(coeffs)))
    assert error.mean() < 0.25
    assert error.max() < 1.0


def test_tone_colour_is_the_exact_one(prior: AlbedoPrior) -> None:
    melanin, haemoglobin = torch.linspace(-5.7, -0.5, 40), torch.linspace(-3.9, -2.9, 40)
    exact = torch.from_numpy(skin_albedo(melanin.double().exp().numpy(), haemoglobin.double().exp().numpy()))
    assert delta_e_2000(_lab(prior.tone_to_rgb(melanin, haemoglobin).double()), _lab(exact)).max() <= 0.1


def test_other_skin_coefficients_leave_the_level_alone(prior: AlbedoPrior) -> None:
    core = unfold_mirror(prior.core_weight) / 2
    for component in range(SKIN_COMPONENTS):
        coeffs = torch.zeros(2, N_COEFFICIENTS)
        coeffs[1, component] = 1.0
        maps = prior.log_chromophores(coeffs)
        moved = ((maps[1] - maps[0]) * core).sum((-2, -1))
        expected = torch.zeros(2)
        if component < 2:
            expected[component] = prior.level_std[component]
        torch.testing.assert_close(moved, expected, atol=5e-4, rtol=0)  # the file has 16 bits


def test_exactly_symmetric(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(4, _generator()) * 1.5
    for resolution in (None, 64, 200, 512):
        albedo = prior.decode(coeffs, resolution)
        assert torch.equal(albedo, albedo.flip(-1))
    assert torch.equal(prior.positions(128)[0], -prior.positions(128)[0].flip(-1))


def test_gaussian_draws_have_the_colour_of_skin(prior: AlbedoPrior) -> None:
    coeffs = torch.randn(64, N_COEFFICIENTS, generator=_generator(3))
    coeffs[:, -1] = 0.0
    albedo = prior.decode(_bare(coeffs), 64)
    lab = _lab(albedo).reshape(-1, 3).double()
    melanin, haemoglobin = np.geomspace(0.0008, 0.99, 300), np.geomspace(0.002, 0.7, 200)
    manifold = linear_rgb_to_lab(torch.from_numpy(skin_albedo(melanin[:, None], haemoglobin[None]))).reshape(-1, 3)
    nearest = cKDTree(manifold.numpy()).query(lab.numpy())[1]
    off = delta_e_2000(lab, manifold[torch.from_numpy(nearest)])
    assert (off > 3).sum() == 0
    assert off.max() < 1.0


def test_a_basis_in_rgb_would_leave_the_manifold(prior: AlbedoPrior) -> None:
    """The measure above is not vacuous: the same draws of a basis in linear RGB fail it."""
    tones = prior.base_tone(prior.sample(2000, _generator(4))).double()
    centred = tones - tones.mean(0)
    draws = tones.mean(0) + torch.randn(4000, 3, generator=_generator(5), dtype=torch.float64) @ (
        torch.linalg.cholesky(centred.T @ centred / len(tones)).T
    )
    melanin, haemoglobin = np.geomspace(0.0008, 0.99, 300), np.geomspace(0.002, 0.7, 200)
    manifold = linear_rgb_to_lab(torch.from_numpy(skin_albedo(melanin[:, None], haemoglobin[None]))).reshape(-1, 3)
    lab = linear_rgb_to_lab(draws.clamp_min(1e-4))
    nearest = cKDTree(manifold.numpy()).query(lab.numpy())[1]
    assert (delta_e_2000(lab, manifold[torch.from_numpy(nearest)]) > 3).double().mean() > 0.15


def test_regions_differ_as_the_recipe_says(prior: AlbedoPrior) -> None:
    for melanin, lips_over_skin in ((-5.0, 4.0), (-0.9, 3.0)):
        maps = prior.log_chromophores(prior.coeffs_from_tone(torch.tensor([melanin]), torch.tensor([-3.4])))[0]
        lips = prior.field("lips") > 0.9
        ratio = (maps[1, lips].median() + 3.4).exp().item()
        assert 2.5 < ratio < 5.5
        assert ratio == pytest.approx(lips_over_skin, abs=0.8)
    mean = prior.log_chromophores(torch.zeros(1, N_COEFFICIENTS))[0]
    ears = (prior.field("ears") > 0.9) & unfold_mirror(prior.mask)
    assert mean[1, ears].median() - prior.level_mean[1] > 0.2


def test_layers_darken_where_they_grow(prior: AlbedoPrior) -> None:
    coeffs = prior.coeffs_from_tone(torch.tensor([-4.5]), torch.tensor([-3.4]))
    bare = prior.decode(_bare(coeffs))
    for number, name in enumerate(LAYERS):
        grown = _bare(coeffs)
        grown[:, SKIN_COMPONENTS + number] = 5.0
        drop = (luminance(bare.movedim(1, -1)) - luminance(prior.decode(grown).movedim(1, -1)))[0]
        opacity = prior.layer_opacity(grown)[0, number]
        assert drop[opacity > 0.9].min() > 0.1, name
        assert drop[opacity < 1e-4].abs().max() < 1e-4, name
        assert opacity.max() > 0.95, name
    blond, black = coeffs.clone(), coeffs.clone()
    blond[:, -2], black[:, -2] = 4.0, -4.0
    assert luminance(prior.hair_colour(blond)).item() > 10 * luminance(prior.hair_colour(black)).item()


def test_gain_scales_everything(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(2, _generator())
    louder = coeffs.clone()
    louder[:, -1] = 1 / 0.3  # one stop
    torch.testing.assert_close(prior.decode(louder, 64), 2 * prior.decode(coeffs, 64))
    torch.testing.assert_close(prior.base_tone(louder), 2 * prior.base_tone(coeffs))


def test_resolutions_agree(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(3, _generator())
    stored = prior.decode(coeffs)
    fine = torch.nn.functional.avg_pool2d(prior.decode(coeffs, 512), 2)
    assert delta_e_2000(_lab(fine), _lab(stored)).mean() < 0.1
    coarse = prior.decode(coeffs, 128)
    pooled = torch.nn.functional.avg_pool2d(stored, 2)
    assert delta_e_2000(_lab(coarse), _lab(pooled)).mean() < 0.3
    for resolution in (0, 65, -2):
        with pytest.raises(ValueError, match="even"):
            prior.decode(coeffs, resolution)
    with pytest.raises(ValueError, match="albedo coefficients"):
        prior.decode(coeffs[:, :-1])


def test_a_prior_resampled_once_decodes_alike(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(3, _generator())
    for resolution in (64, 512):
        resampled = prior.at_resolution(resolution)
        resampled.validate()
        assert resampled.resolution == resolution
        torch.testing.assert_close(resampled.decode(coeffs), prior.decode(coeffs, resolution), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(resampled.positions(), prior.positions(resolution))
    assert resampled.texel_m == pytest.approx(prior.texel_m / 2)


def test_positions_are_the_face_models(prior: AlbedoPrior) -> None:
    model = load_face_model()
    for resolution, tolerance in ((256, 2e-5), (512, 5e-4)):
        baked = bake_vertices(model, model.mean[None], resolution)[0]
        core = prior.field("core_skin", resolution) > 0.5
        error = (prior.positions(resolution) - baked).norm(dim=0)[core]
        assert error.max() < tolerance
        middle = prior.positions(resolution)[0, :, resolution // 2 - 1 : resolution // 2 + 1]
        exact = baked[0, :, resolution // 2 - 1 : resolution // 2 + 1]
        seen = core[:, resolution // 2]
        assert (middle - exact)[seen].abs().max() < 5e-5  # x runs straight through the mid-line


def test_the_border_of_the_atlas_is_no_step(prior: AlbedoPrior) -> None:
    albedo = prior.decode(_bare(prior.sample(6, _generator())))
    assert albedo.min() > 0.01
    mask = unfold_mirror(prior.mask)
    across = mask[:, 1:] != mask[:, :-1]
    step = delta_e_2000(_lab(albedo[..., 1:]), _lab(albedo[..., :-1]))
    assert across.any()
    assert step[:, across].max() < 2.0


def test_precision_follows_the_coefficients(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(4, _generator())
    single, double = prior.decode(coeffs, 128), prior.decode(coeffs.double(), 128)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, atol=2e-6, rtol=2e-5)


def test_gradients(prior: AlbedoPrior) -> None:
    small = _at_lower_resolution(prior)
    coeffs = prior.sample(2, _generator(6)).double().requires_grad_()
    assert torch.autograd.gradcheck(small.decode, (coeffs,))
    assert torch.autograd.gradcheck(lambda c: small.decode(c, 8), (coeffs,))
    assert torch.autograd.gradcheck(prior.base_tone, (coeffs,))
    tone = tuple(torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (-2.0, -3.4))
    assert torch.autograd.gradcheck(prior.tone_to_rgb, tone)


def _at_lower_resolution(prior: AlbedoPrior, factor: int = 16) -> AlbedoPrior:
    """Every 16th texel of the prior's maps."""
    maps = {
        item.name: getattr(prior, item.name)[..., ::factor, ::factor]
        for item in fields(prior)
        if isinstance(getattr(prior, item.name), Tensor) and getattr(prior, item.name).ndim >= 2
    }
    return replace(prior, **maps)


def test_a_tone_can_be_fitted(prior: AlbedoPrior) -> None:
    """Gradient descent through the look-up finds the tone of every group."""
    target = prior.base_tone(prior.sample(6, _generator(8), groups=torch.arange(6)))
    coeffs = torch.zeros(6, N_COEFFICIENTS, requires_grad=True)
    optimiser = torch.optim.LBFGS([coeffs], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        levels = torch.cat([coeffs[:, :2], torch.zeros(6, N_COEFFICIENTS - 2)], dim=1)
        value = (prior.base_tone(levels).log() - target.log()).square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    assert delta_e_2000(_lab(prior.base_tone(coeffs)), _lab(target)).max() < 0.5


def test_same_seed_same_faces(prior: AlbedoPrior) -> None:
    assert torch.equal(prior.sample(12, _generator(9)), prior.sample(12, _generator(9)))
    assert not torch.equal(prior.sample(12, _generator(9)), prior.sample(12, _generator(10)))


def test_file_round_trip(prior: AlbedoPrior) -> None:
    data = prior.to_bytes()
    again = AlbedoPrior.from_bytes(data)
    assert again.to_bytes() == data
    assert len(data) < 3e6
    coeffs = prior.sample(2, _generator())
    assert torch.equal(again.decode(coeffs), prior.decode(coeffs))
    assert again.field_names == prior.field_names


def test_damaged_files_are_refused(prior: AlbedoPrior) -> None:
    data = prior.to_bytes()
    with pytest.raises(AlbedoPriorError, match="not an albedo prior"):
        AlbedoPrior.from_bytes(data[:1000])
    with pytest.raises(AlbedoPriorError, match="not an albedo prior"):
        AlbedoPrior.from_bytes(safetensors.torch.save({"log_mean": torch.zeros(2)}))
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    missing = {name: value for name, value in tensors.items() if name != "log_basis"}
    with pytest.raises(AlbedoPriorError, match="lacks 'log_basis'"):
        AlbedoPrior.from_bytes(safetensors.torch.save(missing, header))
    wrong = dict(tensors, fields=tensors["fields"][:2].contiguous())
    with pytest.raises(AlbedoPriorError, match="fields has shape"):
        AlbedoPrior.from_bytes(safetensors.torch.save(wrong, header))
    other = json.loads(header[module.FORMAT])
    other["coefficient_names"] = [*COEFFICIENT_NAMES[:-1], "something"]
    with pytest.raises(AlbedoPriorError, match="coefficients"):
        AlbedoPrior.from_bytes(safetensors.torch.save(tensors, {module.FORMAT: json.dumps(other)}))


def test_unknown_field(prior: AlbedoPrior) -> None:
    with pytest.raises(ValueError, match="unknown field 'tail'"):
        prior.field("tail")


def test_groups_match_the_named_ones() -> None:
    assert len(ITA_GROUPS) == 6
    grey = lab_to_linear_rgb(torch.tensor([[60.0, 12.0, 15.0]]))
    assert ita_group(ita_degrees(linear_rgb_to_lab(grey))).item() == 2


@pytest.mark.gpu
def test_same_on_cuda(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(4, _generator())
    on_device = prior.to("cuda")
    torch.testing.assert_close(
        on_device.decode(coeffs.cuda(), 512).cpu(), prior.decode(coeffs, 512), atol=1e-5, rtol=1e-4
    )
    assert torch.equal(on_device.sample(12, _generator()).cpu(), prior.sample(12, _generator()))
