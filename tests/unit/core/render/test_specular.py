from __future__ import annotations

import numpy as np
import pytest
import torch

from facealbedo.core.lighting.envmap import EnvironmentMap
from facealbedo.core.render import specular


def test_smooth_surface_reflects_as_fresnel() -> None:
    reflectance = specular.ggx_reflectance(0.05, 0.028)
    cosine = torch.linspace(0, 1, len(reflectance))
    schlick = 0.028 + 0.972 * (1 - cosine) ** 5
    torch.testing.assert_close(reflectance[8:], schlick[8:], atol=2e-3, rtol=0)
    assert float(reflectance[-1]) == pytest.approx(0.028, abs=1e-4)


def test_reflectance_equals_brute_force_integration() -> None:
    # Independent: sum the BRDF over a fine grid of light directions instead of sampling half vectors.
    roughness, f0, cosine = 0.5, 0.04, 0.6
    alpha = roughness**2
    polar = (np.arange(800) + 0.5) * (np.pi / 2 / 800)
    azimuth = (np.arange(800) + 0.5) * (2 * np.pi / 800)
    theta, phi = np.meshgrid(polar, azimuth, indexing="ij")
    light = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    view = np.array([np.sqrt(1 - cosine**2), 0, cosine])
    half = light + view
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    n_h, n_l, v_h = half[..., 2], light[..., 2], half @ view
    density = alpha**2 / (np.pi * (n_h**2 * (alpha**2 - 1) + 1) ** 2)

    def smith_lambda(z: np.ndarray) -> np.ndarray:
        return 0.5 * (np.sqrt(1 + alpha**2 * (1 - z**2) / z**2) - 1)

    masking = 1 / (1 + smith_lambda(n_l) + smith_lambda(np.array(cosine)))
    brdf = density * masking * (f0 + (1 - f0) * (1 - v_h) ** 5) / (4 * n_l * cosine)
    total = (brdf * n_l * np.sin(theta)).sum() * (np.pi / 2 / 800) * (2 * np.pi / 800)
    table = specular.ggx_reflectance(roughness, f0, n_cosines=6)
    assert float(table[3]) == pytest.approx(total, rel=0.01)


def test_even_sky_gives_reflectance_and_back_faces_none() -> None:
    light = specular.specular_light(EnvironmentMap(torch.full((1, 3, 8, 16), 2.0)), 0.5)
    normals = torch.zeros(1, 3, 1, 3)
    normals[0, 2] = torch.tensor([1.0, 0.6, -1.0])
    normals[0, 0, 0, 1] = 0.8
    to_camera = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(normals)
    seen = specular.specular(light, normals, to_camera)
    assert float(seen[0, 0, 0, 0]) == pytest.approx(2 * float(light.reflectance[-1]), rel=1e-3)
    middle = float(specular.ggx_reflectance(0.5, specular.SKIN_F0, n_cosines=6)[3])
    assert float(seen[0, 1, 0, 1]) == pytest.approx(2 * middle, rel=5e-3)
    assert (seen[..., 2] == 0).all()


def test_highlight_lies_in_the_mirrored_direction() -> None:
    radiance = torch.zeros(1, 3, 32, 64)
    radiance[..., 16, 16] = 100.0  # a lamp at +x
    light = specular.specular_light(EnvironmentMap(radiance), 0.3)
    angles = torch.linspace(0, torch.pi / 2, 91)
    normals = torch.stack([angles.sin(), torch.zeros(91), angles.cos()])[None, :, None]
    to_camera = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(normals)
    seen = specular.specular(light, normals, to_camera)[0, 0, 0]
    assert abs(int(seen.argmax()) - 45) <= 6
