from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import sph_harm_y

from facealbedo.core.lighting import sh, sh_conventions


def random_normals(count: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)


def shading_of(light: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    return sh.irradiance(light.expand(1, 3, -1), normals[None])[0, :, 0] / math.pi


def test_condon_shortley_phase_is_that_of_scipy() -> None:
    normals = random_normals()
    polar, azimuth = torch.arccos(normals[:, 2]).numpy(), torch.arctan2(normals[:, 1], normals[:, 0]).numpy()
    with_phase = torch.zeros(9, dtype=torch.float64)
    with_phase[3] = 1.0  # l = 1, m = 1
    expected = math.sqrt(2) * sph_harm_y(1, 1, polar, azimuth).real
    ours = sh.sh_basis(normals, 2) @ sh_conventions.toggle_condon_shortley(with_phase)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


def test_deep3d_light_shades_as_its_formula() -> None:
    normals = random_normals()
    gamma = torch.randn(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, y, z = normals.unbind(-1)
    # The formula as that code writes it.
    a = (math.pi, 2 * math.pi / math.sqrt(3.0), 2 * math.pi / math.sqrt(8.0))
    c = (
        1 / math.sqrt(4 * math.pi),
        math.sqrt(3.0) / math.sqrt(4 * math.pi),
        3 * math.sqrt(5.0) / math.sqrt(12 * math.pi),
    )
    basis = torch.stack(
        [
            a[0] * c[0] * torch.ones_like(x),
            -a[1] * c[1] * y,
            a[1] * c[1] * z,
            -a[1] * c[1] * x,
            a[2] * c[2] * x * y,
            -a[2] * c[2] * y * z,
            0.5 * a[2] * c[2] / math.sqrt(3.0) * (3 * z**2 - 1),
            -a[2] * c[2] * x * z,
            0.5 * a[2] * c[2] * (x**2 - y**2),
        ],
        -1,
    )
    gamma_with_ambient = gamma.clone()
    gamma_with_ambient[0] += 0.8
    torch.testing.assert_close(shading_of(sh_conventions.from_deep3d(gamma), normals), basis @ gamma_with_ambient)


def test_deca_light_shades_as_its_formula() -> None:
    normals = random_normals()
    lights = torch.randn(9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x, y, z = normals.unbind(-1)
    pi = math.pi
    factors = [
        1 / math.sqrt(4 * pi),
        *(3 * [(2 * pi / 3) * math.sqrt(3 / (4 * pi))]),
        *(3 * [(pi / 4) * 3 * math.sqrt(5 / (12 * pi))]),
        (pi / 4) * (3 / 2) * math.sqrt(5 / (12 * pi)),
        (pi / 4) * (1 / 2) * math.sqrt(5 / (4 * pi)),
    ]
    basis = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x**2 - y**2, 3 * z**2 - 1], -1)
    expected = basis @ (lights * torch.tensor(factors, dtype=torch.float64))
    torch.testing.assert_close(shading_of(sh_conventions.from_deca(lights), normals), expected)


def test_polynomial_weights_go_there_and_back() -> None:
    normals = random_normals()
    weights = torch.randn(9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x, y, z = normals.unbind(-1)
    expected = torch.stack([torch.ones_like(x), y, z, x, x * y, y * z, 3 * z**2 - 1, x * z, x**2 - y**2], -1) @ weights
    light = sh_conventions.from_shading_polynomial(weights)
    torch.testing.assert_close(shading_of(light, normals), expected)
    torch.testing.assert_close(sh_conventions.to_shading_polynomial(light), weights)
