from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from facealbedo.core.lighting import envmap, sh


def smooth_map(order: int = 2, height: int = 64, seed: int = 0) -> tuple[envmap.EnvironmentMap, torch.Tensor]:
    """A band-limited, positive map and its coefficients."""
    generator = torch.Generator().manual_seed(seed)
    light = torch.randn(1, 3, (order + 1) ** 2, generator=generator, dtype=torch.float64) * 0.1
    light[..., 0] = math.sqrt(4 * math.pi)
    directions = envmap.texel_directions(height, light)
    radiance = torch.einsum("bck,hwk->bchw", light, sh.sh_basis(directions, order))
    return envmap.EnvironmentMap(radiance), light


def random_directions(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(1, count, 3, generator=generator, dtype=torch.float64), dim=-1)


def test_solid_angles_fill_the_sphere() -> None:
    for height in (1, 7, 32):
        angles = envmap.solid_angles(height, torch.zeros(1, dtype=torch.float64))
        assert float(angles.sum() * 2 * height) == pytest.approx(4 * math.pi, rel=1e-12)


@pytest.mark.parametrize(
    ("direction", "u", "v"),
    [
        ((0, 1, 0), None, 0.0),
        ((0, -1, 0), None, 1.0),
        ((0, 0, 1), 0.5, 0.5),
        ((1, 0, 0), 0.25, 0.5),
        ((-1, 0, 0), 0.75, 0.5),
    ],
)
def test_axes(direction: tuple[int, int, int], u: float | None, v: float) -> None:
    height = 32
    places = torch.zeros(1, 3, height, 2 * height)
    places[0, 0] = (torch.arange(2 * height) + 0.5) / (2 * height)
    places[0, 1] = ((torch.arange(height) + 0.5) / height)[:, None]
    seen = envmap.sample_environment(envmap.EnvironmentMap(places), torch.tensor([[direction]], dtype=torch.float32))
    if u is not None:
        assert float(seen[0, 0, 0]) == pytest.approx(u, abs=1e-5)
    assert float(seen[0, 1, 0]) == pytest.approx(v, abs=0.5 / height + 1e-6)


def test_sampling_at_texel_centres_reads_them_and_wraps() -> None:
    radiance = torch.rand(2, 3, 8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centres = envmap.texel_directions(8, radiance).reshape(1, -1, 3).expand(2, -1, -1)
    seen = envmap.sample_environment(envmap.EnvironmentMap(radiance), centres)
    torch.testing.assert_close(seen, radiance.flatten(2), atol=1e-6, rtol=0)
    behind = torch.tensor([[[1e-9, 0.1, -1.0]]], dtype=torch.float64).expand(2, -1, -1)
    middle = envmap.sample_environment(envmap.EnvironmentMap(radiance), torch.nn.functional.normalize(behind, dim=-1))
    columns = radiance[..., [0, -1]].mean(-1)
    assert (middle[..., 0] >= columns.amin(-1) - 1e-6).all()
    assert (middle[..., 0] <= columns.amax(-1) + 1e-6).all()


def test_projection_gives_the_coefficients_back() -> None:
    environment, light = smooth_map(4)
    torch.testing.assert_close(envmap.project_to_sh(environment, 4), light, atol=3e-3, rtol=0)


def test_constant_map_gives_irradiance_pi() -> None:
    environment = envmap.EnvironmentMap(torch.ones(1, 3, 32, 64, dtype=torch.float64))
    normals = random_directions(20)
    expected = torch.full((1, 20, 3), math.pi, dtype=torch.float64)
    torch.testing.assert_close(envmap.irradiance_by_summing(environment, normals), expected, rtol=2e-3, atol=0)
    torch.testing.assert_close(sh.irradiance(envmap.project_to_sh(environment), normals), expected, rtol=1e-3, atol=0)


def test_sh_irradiance_of_a_smooth_map_equals_the_sum() -> None:
    environment, light = smooth_map(4, seed=1)
    normals = random_directions(50, seed=2)
    brute = envmap.irradiance_by_summing(environment, normals, chunk=7)
    torch.testing.assert_close(sh.irradiance(light, normals), brute, rtol=2e-3, atol=0)


def test_rotating_the_map_rotates_its_sh() -> None:
    environment, light = smooth_map(2, height=64, seed=3)
    rotation = torch.from_numpy(Rotation.random(1, rng=np.random.default_rng(0)).as_matrix())
    turned = envmap.project_to_sh(envmap.rotate_environment(environment, rotation), 2)
    expected = envmap.lighting_in_view(light, rotation).sh_radiance
    torch.testing.assert_close(turned, expected, atol=5e-3, rtol=0)
    assert (expected - light).abs().max() > 0.05, "the rotation does something"


def test_shrinking_keeps_energy_peaks_and_cancels_ringing() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(64, 128, 3, generator=generator, dtype=torch.float64)
    pixels[20, 40] = 5e4
    pixels[20, 41] = -3.0  # a codec's negative lobe next to the sun
    small = envmap.environment_from_array(pixels, 16)
    angles = envmap.solid_angles(64, pixels)
    before = (pixels * angles[:, None, None]).sum((0, 1))
    after = (small.radiance[0] * envmap.solid_angles(16, pixels)[:, None]).sum((1, 2))
    torch.testing.assert_close(after, before)
    assert small.radiance.amax() > 2e3
    negative = torch.full((4, 8, 3), -1.0)
    assert (envmap.environment_from_array(negative).radiance == 0).all()


def test_bad_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="8 x 8"):
        envmap.environment_from_array(torch.ones(8, 8, 3))
    with pytest.raises(ValueError, match="finite"):
        envmap.environment_from_array(torch.full((8, 16, 3), float("nan")))
    with pytest.raises(ValueError, match="divide"):
        envmap.environment_from_array(torch.ones(8, 16, 3), 3)
    with pytest.raises(ValueError, match="without light"):
        envmap.scale_to_mean_luminance(envmap.EnvironmentMap(torch.zeros(1, 3, 4, 8)))


def test_mirror_of_full_roughness_is_wide_and_of_none_is_sharp() -> None:
    environment, _ = smooth_map(1, height=32, seed=4)
    constant = envmap.EnvironmentMap(torch.full((1, 3, 16, 32), 0.7))
    torch.testing.assert_close(
        envmap.prefilter_ggx(constant, 0.5, 8).radiance, torch.full((1, 3, 8, 16), 0.7), atol=1e-5, rtol=0
    )
    sharp, wide = (envmap.prefilter_ggx(environment, roughness, 32).radiance for roughness in (0.15, 1.0))
    torch.testing.assert_close(sharp, environment.radiance, atol=0.02, rtol=0)
    # On a map of band 1 a lobe symmetric about its axis scales the band by its mean cosine; for roughness 1 the lobe is
    # the clamped cosine, so that factor is 2/3.
    mean = environment.radiance.new_tensor(1.0)
    torch.testing.assert_close(wide - mean, (environment.radiance - mean) * 2 / 3, atol=5e-3, rtol=0)
    with pytest.raises(ValueError, match="roughness"):
        envmap.prefilter_ggx(constant, 0.0)
