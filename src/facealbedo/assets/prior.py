"""The albedo prior that ships with the package, and the surface that it is built on.

It is built by ``kedro run --pipelines albedo_prior`` from the embedded face model and published optics of skin alone:
no photograph and no scan of a person went into it. Licence: that of the project.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.face_model.skin_maps import REQUIRED_REGIONS, SkinSurface
from facealbedo.core.render.uv import atlas_texels, bake_region, bake_vertices

ALBEDO_PRIOR_FILE = "albedo_prior.safetensors"


@lru_cache(maxsize=1)
def load_albedo_prior() -> AlbedoPrior:
    """Return the embedded albedo prior (CPU, float32); read once a process."""
    return AlbedoPrior.from_bytes((files("facealbedo.assets") / ALBEDO_PRIOR_FILE).read_bytes())


def bake_skin_surface(model: FaceModel, resolution: int) -> SkinSurface:
    """Lay the mean face's points and the regions that the prior needs out in the atlas."""
    return SkinSurface(
        positions_m=bake_vertices(model, model.mean[None], resolution)[0],
        mask=atlas_texels(model, resolution).mask,
        regions={name: bake_region(model, name, resolution) for name in REQUIRED_REGIONS},
    )
