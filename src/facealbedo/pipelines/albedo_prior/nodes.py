"""Nodes of the `albedo_prior` pipeline."""

from __future__ import annotations

from facealbedo.params.albedo_prior import AlbedoPriorParams


def build_prior(params: AlbedoPriorParams, face_model: bytes) -> bytes:
    """Return the albedo prior for a face model's atlas, as the content of its file."""
    from facealbedo.assets.prior import bake_skin_surface
    from facealbedo.core.face_model.albedo_prior_build import AlbedoPriorConfig, build_albedo_prior
    from facealbedo.core.face_model.model import FaceModel

    surface = bake_skin_surface(FaceModel.from_bytes(face_model), params.resolution)
    config = AlbedoPriorConfig(seed=params.seed, n_noise=params.n_noise, n_levels=params.n_levels)
    provenance = {"surface": "mean face of the embedded face model", "config": repr(config)}
    return build_albedo_prior(surface, config, provenance).to_bytes()


def draw_sheet(params: AlbedoPriorParams, albedo_prior: bytes) -> bytes:
    """Return a PNG of six draws of each ITA group, linear and detailed: to be looked at."""
    import torch

    from facealbedo.core.face_model.albedo_prior import AlbedoPrior
    from facealbedo.core.face_model.skin_detail import sample_detailed_albedo
    from facealbedo.core.imaging.encoding import encode_png_srgb

    prior, generator = AlbedoPrior.from_bytes(albedo_prior), torch.Generator().manual_seed(params.seed)
    coeffs = prior.sample(36, generator, groups=torch.arange(36) // 6)
    maps = torch.cat(
        [prior.decode(coeffs), sample_detailed_albedo(prior, coeffs, generator, prior.resolution).uv_albedo]
    )
    rows = maps.unflatten(0, (6, 12)).permute(2, 0, 3, 1, 4)
    return encode_png_srgb(rows.reshape(3, 6 * prior.resolution, 12 * prior.resolution))
