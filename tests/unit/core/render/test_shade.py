from __future__ import annotations

import math

import pytest
import torch

from facealbedo.core.render import shade
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.synthetic import dome, frontal_camera
from facealbedo.core.types import GBuffer, Lighting


def white_sky(radiance: float = 1.0, dtype: torch.dtype = torch.float64) -> Lighting:
    light = torch.zeros(1, 3, 9, dtype=dtype)
    light[..., 0] = radiance * math.sqrt(4 * math.pi)
    return Lighting(light)


def small_buffer(dtype: torch.dtype = torch.float64) -> GBuffer:
    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.randn(1, 3, 4, 5, generator=generator, dtype=dtype), dim=1)
    uv = 0.1 + 0.8 * torch.rand(1, 2, 4, 5, generator=generator, dtype=dtype)
    seen = torch.ones(1, 1, 4, 5, dtype=torch.bool)
    seen[..., 0, 0] = False
    return GBuffer(torch.zeros(1, 3, 4, 5, dtype=dtype), normal, uv, seen, seen)


def test_white_furnace() -> None:
    # Under an even white sky a surface shows its albedo, from whatever side.
    surface, camera = dome(16), frontal_camera(1, 48)
    _, buffer = render_gbuffer(surface, surface.vertices[None] - torch.tensor([0, 0, 0.7]), camera)
    albedo = torch.tensor([0.7, 0.4, 0.2]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    lighting = white_sky(dtype=torch.float32)
    texels = lighting.sh_radiance.reshape(1, 27, 1, 1).expand(-1, -1, 4, 4)
    seen = buffer.skin_coverage.expand(-1, 3, -1, -1)
    for image in (shade.shade(buffer, albedo, lighting), shade.shade(buffer, albedo, uv_illumination=texels)):
        expected = albedo[..., :1, :1].expand_as(image)
        torch.testing.assert_close(image[seen], expected[seen], atol=1e-6, rtol=0)
        assert (image[~seen] == 0).all()


def test_detailed_light_equals_global_light_where_it_is_the_same() -> None:
    buffer = small_buffer()
    generator = torch.Generator().manual_seed(1)
    light = 0.2 * torch.randn(1, 3, 9, generator=generator, dtype=torch.float64) + white_sky().sh_radiance
    albedo = torch.rand(1, 3, 6, 6, generator=generator, dtype=torch.float64)
    texels = light.reshape(1, 27, 1, 1).expand(-1, -1, 3, 3)
    torch.testing.assert_close(
        shade.shade(buffer, albedo, Lighting(light)), shade.shade(buffer, albedo, uv_illumination=texels)
    )


def test_occlusion_multiplies_and_shadow_adds() -> None:
    buffer = small_buffer()
    open_half = torch.full((1, 1, 4, 5), 0.5, dtype=torch.float64)
    free = shade.shading_global(white_sky(), buffer.normal_view)
    torch.testing.assert_close(shade.shading_global(white_sky(), buffer.normal_view, open_half), 0.5 * free)
    shadow = torch.full((1, 3, 4, 5), -0.25 * math.pi, dtype=torch.float64)
    torch.testing.assert_close(
        shade.shading_global(white_sky(), buffer.normal_view, shadow=shadow), torch.full_like(free, 0.75)
    )
    with pytest.raises(ValueError, match="either"):
        shade.shading_global(white_sky(), buffer.normal_view, open_half, shadow)


def test_exactly_one_light() -> None:
    buffer, albedo = small_buffer(), torch.ones(1, 3, 2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="exactly one"):
        shade.shade(buffer, albedo)
    with pytest.raises(ValueError, match="exactly one"):
        shade.shade(buffer, albedo, white_sky(), torch.zeros(1, 27, 2, 2, dtype=torch.float64))


@pytest.mark.parametrize("detailed", [False, True])
def test_gradients_to_maps_light_normals_and_places(detailed: bool) -> None:
    buffer = small_buffer()
    generator = torch.Generator().manual_seed(2)
    albedo = torch.rand(1, 3, 5, 5, generator=generator, dtype=torch.float64)
    light = white_sky().sh_radiance + 0.3 * torch.randn(1, 3, 9, generator=generator, dtype=torch.float64)
    if detailed:
        light = light.reshape(1, 27, 1, 1) + 0.1 * torch.randn(1, 27, 3, 3, generator=generator, dtype=torch.float64)

    def image(albedo: torch.Tensor, light: torch.Tensor, normal: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
        seen = GBuffer(buffer.position_view, normal, uv, buffer.coverage, buffer.skin_coverage)
        if detailed:
            return shade.shade(seen, albedo, uv_illumination=light)
        return shade.shade(seen, albedo, Lighting(light))

    inputs = tuple(value.clone().requires_grad_() for value in (albedo, light, buffer.normal_view, buffer.uv))
    assert torch.autograd.gradcheck(image, inputs, eps=1e-7, atol=1e-5)


def test_mip_aware_reading_of_a_fine_map() -> None:
    surface, camera = dome(16), frontal_camera(1, 24)
    view = surface.vertices[None] - torch.tensor([0, 0, 0.7])
    fragments, buffer = render_gbuffer(surface, view, camera)
    from facealbedo.core.render.uv import texels_per_pixel

    noise = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    spans = texels_per_pixel(surface, fragments, view, camera, 512)
    lighting = white_sky(dtype=torch.float32)
    seen = buffer.skin_coverage.expand(-1, 3, -1, -1)
    smooth = shade.shade(buffer, noise, lighting, texels_per_pixel=spans)[seen]
    rough = shade.shade(buffer, noise, lighting)[seen]
    assert smooth.std() < 0.2 * rough.std()
