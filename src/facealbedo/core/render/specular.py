"""A glossy layer for previews: GGX reflection of an environment map, by the split-sum approximation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.lighting.envmap import EnvironmentMap, prefilter_ggx, sample_environment
from facealbedo.core.types import TensorRecord

# Reflectance of skin at normal incidence (index of refraction 1.4).
SKIN_F0 = 0.028
SKIN_ROUGHNESS = 0.45


@dataclass(frozen=True)
class SpecularLight(TensorRecord):
    """An environment made ready for one roughness: prefiltered maps, and the reflectance by cosine of view."""

    prefiltered: EnvironmentMap
    reflectance: Float[Tensor, "cosine"]


def specular_light(
    environment: EnvironmentMap, roughness: float = SKIN_ROUGHNESS, f0: float = SKIN_F0
) -> SpecularLight:
    """Prefilter an environment (frame of its map) for a surface of this roughness and normal reflectance."""
    reflectance = ggx_reflectance(roughness, f0).to(environment.radiance)
    return SpecularLight(prefilter_ggx(environment, roughness), reflectance)


def specular(
    light: SpecularLight,
    normals: Float[Tensor, "batch 3 height width"],
    to_camera: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Radiance that the glossy layer sends to the camera.

    Args:
        light: of the frame of the normals, batch B.
        normals: unit.
        to_camera: unit vectors from the surface to the camera, same frame.
    """
    batch, _, height, width = normals.shape
    cosine = (normals * to_camera).sum(1, keepdim=True)
    reflected = 2 * cosine * normals - to_camera
    seen = sample_environment(light.prefiltered, reflected.flatten(2).transpose(1, 2)).reshape(batch, 3, height, width)
    steps = len(light.reflectance) - 1
    place = cosine.clamp(0, 1) * steps
    below = place.detach().floor().clamp(max=steps - 1)
    table = light.reflectance
    reflectance = torch.lerp(table[below.long()], table[below.long() + 1], place - below)
    return seen * reflectance * (cosine > 0)


@lru_cache(maxsize=8)
def ggx_reflectance(roughness: float, f0: float, n_cosines: int = 33, n_samples: int = 4096) -> Float[Tensor, "cosine"]:
    """Share of a white sky that GGX with Smith shadowing and Schlick's Fresnel term reflects, by cosine of view.

    Args:
        roughness: perceptual; alpha is its square.
        f0: reflectance at normal incidence.
        n_cosines: cosines from 0 to 1, equally spaced.
        n_samples: half vectors drawn from the distribution, low-discrepancy.
    """
    alpha = roughness**2
    cosine = torch.linspace(0, 1, n_cosines, dtype=torch.float64).clamp(min=1e-4)[:, None]
    view = torch.stack([(1 - cosine**2).sqrt(), torch.zeros_like(cosine), cosine], dim=-1)
    index = torch.arange(n_samples, dtype=torch.float64)
    first, second = (index + 0.5) / n_samples, (index * 0.6180339887498949) % 1
    half_z = ((1 - first) / (1 + (alpha**2 - 1) * first)).sqrt()
    radius, azimuth = (1 - half_z**2).clamp(min=0).sqrt(), 2 * torch.pi * second
    half = torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), half_z], dim=-1)
    view_half = (view * half).sum(-1)
    light_z = 2 * view_half * half[:, 2] - cosine
    fresnel = f0 + (1 - f0) * (1 - view_half.clamp(0, 1)) ** 5

    def smith(z: Tensor) -> Tensor:
        return (alpha**2 + (1 - alpha**2) * z * z).sqrt()

    light_z = light_z.clamp(min=0)
    shadowing = 2 * cosine * light_z / (cosine * smith(light_z) + light_z * smith(cosine)).clamp(min=1e-12)
    values = fresnel * shadowing * view_half / (cosine * half[:, 2])
    return torch.where((light_z > 0) & (view_half > 0), values, 0.0).mean(1).float()
