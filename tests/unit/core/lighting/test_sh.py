from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre, sph_harm_y

from facealbedo.core.lighting import sh


def random_directions(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def scipy_basis(directions: np.ndarray, order: int) -> np.ndarray:
    """Real SH without the Condon-Shortley phase, from scipy's complex ones (which have it)."""
    polar, azimuth = np.arccos(directions[:, 2]), np.arctan2(directions[:, 1], directions[:, 0])
    columns = []
    for band in range(order + 1):
        for m in range(-band, band + 1):
            value = sph_harm_y(band, abs(m), polar, azimuth) * (-1.0) ** m
            columns.append(value.real if m == 0 else math.sqrt(2) * (value.real if m > 0 else value.imag))
    return np.stack(columns, axis=-1)


def test_basis_equals_scipy() -> None:
    directions = random_directions(200)
    torch.testing.assert_close(
        sh.sh_basis(directions, 4), torch.from_numpy(scipy_basis(directions.numpy(), 4)), atol=1e-12, rtol=0
    )


def test_basis_is_orthonormal_on_an_independent_grid() -> None:
    # A plain product grid (Gauss-Legendre 16 x 40 azimuths), not the quadrature of the module.
    heights, weights = np.polynomial.legendre.leggauss(16)
    azimuth = np.arange(40) * 2 * np.pi / 40
    z, a = np.meshgrid(heights, azimuth, indexing="ij")
    directions = np.stack([np.sqrt(1 - z**2) * np.cos(a), np.sqrt(1 - z**2) * np.sin(a), z], -1).reshape(-1, 3)
    basis = sh.sh_basis(torch.from_numpy(directions), 4).numpy()
    gram = basis.T @ (basis * np.repeat(weights * 2 * np.pi / 40, 40)[:, None])
    np.testing.assert_allclose(gram, np.eye(25), atol=1e-12)


def test_module_quadrature_is_exact_for_products() -> None:
    nodes, weights = sh.sphere_quadrature(4)
    basis = sh.sh_basis(torch.from_numpy(nodes), 4).numpy()
    np.testing.assert_allclose(basis.T @ (basis * weights[:, None]), np.eye(25), atol=1e-12)
    assert weights.sum() == pytest.approx(4 * math.pi)


def test_band_one_is_y_z_x_with_plus_signs() -> None:
    basis = sh.sh_basis(torch.eye(3, dtype=torch.float64), 1)
    constant = math.sqrt(3 / (4 * math.pi))
    expected = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64) * constant
    torch.testing.assert_close(basis[:, 1:], expected)


@pytest.mark.parametrize("band", range(5))
def test_lambert_factors_are_the_integrals(band: int) -> None:
    value, _ = quad(lambda c: eval_legendre(band, c) * c, 0, 1)
    assert sh.LAMBERT_FACTORS[band] == pytest.approx(2 * math.pi * value, abs=1e-12)


def test_constant_environment_gives_irradiance_pi() -> None:
    light = torch.zeros(1, 3, 9, dtype=torch.float64)
    light[..., 0] = math.sqrt(4 * math.pi)  # radiance 1 from everywhere
    normals = random_directions(50)[None]
    torch.testing.assert_close(sh.irradiance(light, normals), torch.full((1, 50, 3), math.pi, dtype=torch.float64))
    torch.testing.assert_close(sh.shading(light, normals), torch.ones(1, 50, 3, dtype=torch.float64))


def test_irradiance_of_smooth_light_equals_brute_force() -> None:
    generator = torch.Generator().manual_seed(1)
    light = torch.randn(2, 3, 25, generator=generator, dtype=torch.float64)
    normals = random_directions(5, seed=2)
    # Independent: integrate radiance times the clamped cosine over a fine grid of the sphere.
    z = (torch.arange(1000, dtype=torch.float64) + 0.5) / 500 - 1
    azimuth = (torch.arange(400, dtype=torch.float64) + 0.5) * 2 * math.pi / 400
    z, azimuth = torch.meshgrid(z, azimuth, indexing="ij")
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), z], -1).reshape(-1, 3)
    radiance = torch.from_numpy(scipy_basis(directions.numpy(), 4)) @ light.transpose(1, 2)
    cosine = (directions @ normals.T).clamp(min=0)
    brute = torch.einsum("bdc,dn->bnc", radiance, cosine) * 4 * math.pi / len(directions)
    torch.testing.assert_close(sh.irradiance(light, normals[None].expand(2, -1, -1)), brute, atol=2e-4, rtol=0)


def test_maps_and_point_lists_agree() -> None:
    generator = torch.Generator().manual_seed(3)
    light = torch.randn(2, 3, 16, generator=generator)
    normals = random_directions(2 * 12, seed=4).float().reshape(2, 12, 3)
    image = normals.transpose(1, 2).reshape(2, 3, 3, 4)
    as_points = sh.irradiance(light, normals)
    as_map = sh.irradiance(light, image).reshape(2, 3, 12).transpose(1, 2)
    torch.testing.assert_close(as_map, as_points)


def test_per_texel_light_equals_global_light_where_it_is_constant() -> None:
    generator = torch.Generator().manual_seed(5)
    light = torch.randn(2, 3, 9, generator=generator)
    normals = torch.nn.functional.normalize(torch.randn(2, 3, 4, 5, generator=generator), dim=1)
    texels = light.reshape(2, 27, 1, 1).expand(-1, -1, 4, 5)
    torch.testing.assert_close(sh.shading_per_texel(texels, normals), sh.shading(light, normals))


@pytest.mark.parametrize("order", range(5))
def test_rotation_turns_the_function(order: int) -> None:
    rotations = torch.from_numpy(Rotation.random(6, rng=np.random.default_rng(order)).as_matrix())
    generator = torch.Generator().manual_seed(order)
    light = torch.randn(6, 3, (order + 1) ** 2, generator=generator, dtype=torch.float64)
    rotated = sh.rotate_sh(light, rotations[:, None])
    directions = random_directions(40, seed=6)
    before = torch.einsum("bck,bnk->bnc", light, sh.sh_basis(directions @ rotations, order))
    after = torch.einsum("bck,nk->bnc", rotated, sh.sh_basis(directions, order))
    torch.testing.assert_close(after, before, atol=1e-12, rtol=0)
    # Band by band the energy stays.
    torch.testing.assert_close(rotated.square().sum(-1), light.square().sum(-1))


def test_shading_does_not_change_when_light_and_normals_turn_together() -> None:
    rotation = torch.from_numpy(Rotation.random(rng=np.random.default_rng(0)).as_matrix()).float()
    light = torch.randn(1, 3, 9, generator=torch.Generator().manual_seed(7))
    normals = random_directions(20).float()[None]
    torch.testing.assert_close(
        sh.shading(sh.rotate_sh(light, rotation), normals @ rotation.T),
        sh.shading(light, normals),
        atol=1e-5,
        rtol=1e-5,
    )


def test_rotation_is_differentiable() -> None:
    rotation = torch.from_numpy(Rotation.random(rng=np.random.default_rng(1)).as_matrix()).requires_grad_()
    light = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sh.rotate_sh, (light, rotation))


def test_mirror_flips_x() -> None:
    light = torch.randn(1, 25, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    directions = random_directions(30)
    flipped = directions * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(
        sh.sh_basis(directions, 4) @ sh.mirror_sh(light)[0], sh.sh_basis(flipped, 4) @ light[0], atol=1e-12, rtol=0
    )


def test_soft_clamp_is_positive_increasing_smooth_and_the_identity_above() -> None:
    values = torch.linspace(-3, 3, 6001, dtype=torch.float64, requires_grad=True)
    clamped = sh.positive(values)
    assert (clamped > 0).all()
    (slope,) = torch.autograd.grad(clamped.sum(), values)
    assert (slope > 1e-5).all(), "no place without a gradient"
    assert slope.diff().abs().max() < 0.1, "no jump in the slope"
    above = values >= 0.02
    torch.testing.assert_close(clamped[above], values[above])
    assert torch.autograd.gradcheck(
        sh.positive, (torch.tensor([-1.0, -0.1, 0.0, 0.019, 0.5], dtype=torch.float64, requires_grad=True),)
    )


@pytest.mark.parametrize("count", [0, 2, 8, 10, 27, 36])
def test_wrong_number_of_coefficients_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=str(count)):
        sh.order_of(count)


def test_order_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="5"):
        sh.sh_basis(torch.eye(3), 5)
