"""The build: the committed prior is what the code builds, and its components hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.prior import bake_skin_surface, load_albedo_prior
from facealbedo.core.colour import delta_e_2000, linear_rgb_to_lab
from facealbedo.core.face_model.albedo_prior import SKIN_COMPONENTS, AlbedoPrior
from facealbedo.core.face_model.albedo_prior_build import (
    AlbedoPriorConfig,
    _centre,
    _covariance_factors,
    _importance,
    _principal_maps,
    _symmetric,
    build_albedo_prior,
)
from facealbedo.core.face_model.skin import skin_colour
from facealbedo.core.face_model.skin_maps import SkinSurface, skin_fields


@pytest.fixture(scope="module")
def surface() -> SkinSurface:
    return bake_skin_surface(load_face_model(), 256)


def test_committed_prior_is_what_the_code_builds(surface: SkinSurface) -> None:
    built = AlbedoPrior.from_bytes(build_albedo_prior(surface, AlbedoPriorConfig()).to_bytes())
    committed = load_albedo_prior()
    # If this fails, the recipe or the atlas has changed: run `kedro run --pipelines albedo_prior`, commit the file.
    for name in ("log_mean", "log_basis", "layer_maps", "fields", "positions_m", "level_mean", "level_std"):
        torch.testing.assert_close(getattr(built, name), getattr(committed, name), atol=4e-3, rtol=2e-3, msg=name)
    assert torch.equal(built.mask, committed.mask)
    assert built.field_names == committed.field_names


def test_principal_maps_agree_with_a_plain_pca() -> None:
    """Against the eigenvectors of the full covariance matrix, by numpy, on small maps."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(7, 2, 4, 3, generator=generator, dtype=torch.float64)
    weight = torch.rand(2, 4, 3, generator=generator, dtype=torch.float64) + 0.1
    maps = _principal_maps(factors, weight, 3)
    weighted = (factors * weight.sqrt()).flatten(1).numpy()
    values, vectors = np.linalg.eigh(weighted.T @ weighted)
    for number in range(3):
        expected = vectors[:, -1 - number] * np.sqrt(values[-1 - number])
        found = (maps[number] * weight.sqrt()).flatten().numpy()
        np.testing.assert_allclose(abs(found @ expected), values[-1 - number], rtol=1e-9)
        np.testing.assert_allclose(found @ found, values[-1 - number], rtol=1e-9)


def test_ten_components_hold_the_recipe(surface: SkinSurface) -> None:
    """Faces drawn from the full recipe, noise included, are rebuilt to .9 in CIEDE2000 by ten coefficients."""
    prior = load_albedo_prior()
    whole = _symmetric(surface)
    half = prior.mask.shape[1]
    fields = {name: value[:, :half] for name, value in skin_fields(whole).items()}
    generator = torch.Generator().manual_seed(99)
    config = AlbedoPriorConfig(n_noise=40)
    _, _, factors = _covariance_factors(fields, whole.positions_m[..., :half], config, generator)
    faces = 24
    draws = torch.randn(faces, len(factors), generator=generator).double()
    truth = torch.einsum("nf,fchw->nchw", draws, _centre(factors, fields["core_skin"]))
    weight = _importance(fields, prior.mask).sqrt()
    basis = prior.log_basis[2:].double()
    coeffs = torch.linalg.lstsq((basis * weight).flatten(1).T, (truth * weight).flatten(1).T).solution.T
    rebuilt = torch.einsum("nk,kchw->nchw", coeffs, basis)
    level = prior.log_mean + torch.einsum("nk,kchw->nchw", prior.sample(faces, generator)[:, :2], prior.log_basis[:2])
    lab = [
        linear_rgb_to_lab(skin_colour(*(level + maps).unbind(1)).movedim(1, -1))
        for maps in (truth, rebuilt, torch.zeros_like(truth))
    ]
    face = prior.mask & (fields["scalp"] < 0.5) & (fields["neck"] < 0.5)
    error, without = (delta_e_2000(lab[0], other)[:, face].mean() for other in lab[1:])
    assert error < 0.9
    assert error < 0.9 * without
    torch.testing.assert_close(coeffs.square().mean(), torch.ones((), dtype=torch.float64), atol=0.25, rtol=0)


def test_components_are_ordered_by_what_they_explain() -> None:
    prior = load_albedo_prior()
    strength = prior.log_basis[2:, :, prior.mask].square().mean((1, 2))
    assert len(strength) == SKIN_COMPONENTS - 2
    assert (prior.log_basis[2:, :, prior.mask].abs().amax((1, 2)) < 1.0).all()


def test_bad_surfaces_are_refused(surface: SkinSurface) -> None:
    oblong = SkinSurface(
        surface.positions_m[:, :100], surface.mask[:100], {name: mask[:100] for name, mask in surface.regions.items()}
    )
    with pytest.raises(ValueError, match="square with an even side"):
        build_albedo_prior(oblong, AlbedoPriorConfig())
    nothing = {name: torch.zeros_like(mask) for name, mask in surface.regions.items()}
    with pytest.raises(ValueError, match="no texel of the surface is core skin"):
        build_albedo_prior(SkinSurface(surface.positions_m, surface.mask, nothing), AlbedoPriorConfig())
