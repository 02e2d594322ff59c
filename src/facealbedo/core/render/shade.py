"""Light on surfaces, in linear colour: image = albedo * shading (+ a specular layer for previews).

Shading is irradiance / pi (see `core.lighting.sh`). Every function works on images and on atlas maps alike.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.lighting import sh
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.render.triton_paths import fused
from facealbedo.core.types import GBuffer, Lighting


def shading_global(
    lighting: Lighting,
    normals_view: Float[Tensor, "batch 3 height width"],
    ambient_occlusion: Float[Tensor, "batch_or_1 1 height width"] | None = None,
    shadow: Float[Tensor, "batch 3 height width"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Shading of distant light, one for the whole face.

    Args:
        lighting: view frame, any order up to 4.
        normals_view: unit normals.
        ambient_occlusion: openness in [0, 1], multiplied in (see `occlusion.SurfaceOcclusion`).
        shadow: irradiance that occluders take away (`occlusion.shadow_irradiance`), added; use one of the two.
    """
    light = sh.irradiance(lighting.sh_radiance, normals_view)
    return _finish(light, ambient_occlusion, shadow)


def shading_detailed(
    illumination: Float[Tensor, "batch_or_1 colour_coeff height width"],
    normals_view: Float[Tensor, "batch 3 height width"],
    ambient_occlusion: Float[Tensor, "batch_or_1 1 height width"] | None = None,
    shadow: Float[Tensor, "batch 3 height width"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Shading where every pixel or texel has its own SH light.

    Args:
        illumination: SH radiance, view frame, colour-major (27 channels for order 2).
        normals_view: unit normals.
        ambient_occlusion: see `shading_global`.
        shadow: see `shading_global`.
    """
    return _finish(sh.irradiance_per_texel(illumination, normals_view), ambient_occlusion, shadow)


def _irradiance_read(uv_illumination: Tensor, buffer: GBuffer) -> Tensor:
    """Irradiance at every pixel under the light that the atlas has there."""
    kernels = fused(uv_illumination, buffer.uv, buffer.normal_view)
    if kernels is None or uv_illumination.shape[1] != 27:
        return sh.irradiance_per_texel(sample_uv(uv_illumination, buffer.uv), buffer.normal_view)
    size = buffer.uv.new_tensor([uv_illumination.shape[3], uv_illumination.shape[2]])
    points = (buffer.uv.permute(0, 2, 3, 1) * size).flatten(1, 2)
    light: Tensor = kernels.illuminate(uv_illumination, points, buffer.normal_view.flatten(2))
    return light.unflatten(2, buffer.uv.shape[2:])


def _finish(light: Tensor, ambient_occlusion: Tensor | None, shadow: Tensor | None) -> Tensor:
    if ambient_occlusion is not None and shadow is not None:
        raise ValueError("give either ambient occlusion or a shadow: each stands for the same occluders")
    if shadow is not None:
        light = light + shadow
    result = sh.positive(light / math.pi)
    return result if ambient_occlusion is None else result * ambient_occlusion


def shade(
    buffer: GBuffer,
    uv_albedo: Float[Tensor, "batch_or_1 3 map_height map_width"],
    lighting: Lighting | None = None,
    uv_illumination: Float[Tensor, "batch_or_1 colour_coeff coarse_height coarse_width"] | None = None,
    ambient_occlusion: Float[Tensor, "batch_or_1 1 height width"] | None = None,
    shadow: Float[Tensor, "batch 3 height width"] | None = None,
    texels_per_pixel: Float[Tensor, "batch 1 height width"] | None = None,
    max_level: int | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Render the skin of a g-buffer: albedo and light read from the atlas at every pixel, normals per pixel.

    Differentiable in maps, light, normals and atlas coordinates.

    Args:
        buffer: what is seen.
        uv_albedo: linear albedo.
        lighting: one light for the face, view frame; or
        uv_illumination: SH radiance a texel, view frame, colour-major. Exactly one of the two.
        ambient_occlusion: openness per pixel.
        shadow: irradiance taken away per pixel, see `shading_global`.
        texels_per_pixel: of ``uv_albedo``, for mip-aware reading (`uv.texels_per_pixel`).
        max_level: see `sampling.sample_prefiltered`.

    Returns:
        Linear RGB; 0 where no skin is seen.
    """
    if (lighting is None) == (uv_illumination is None):
        raise ValueError("give exactly one of lighting and uv_illumination")
    albedo = sample_uv(uv_albedo, buffer.uv, texels_per_pixel, max_level)
    if lighting is not None:
        shading = shading_global(lighting, buffer.normal_view, ambient_occlusion, shadow)
    else:
        assert uv_illumination is not None  # noqa: S101 (for the type checker; checked above)
        light = _irradiance_read(uv_illumination, buffer)
        shading = _finish(light, ambient_occlusion, shadow)
    return torch.where(buffer.skin_coverage, albedo * shading, 0.0)


def over(
    foreground: Float[Tensor, "batch 3 height width"],
    background: Float[Tensor, "batch_or_1 3 height width"],
    coverage: Tensor,
) -> Float[Tensor, "batch 3 height width"]:
    """Foreground where covered, background elsewhere."""
    return torch.where(coverage, foreground, background)
