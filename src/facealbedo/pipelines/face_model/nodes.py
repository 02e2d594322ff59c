"""Nodes of the `face_model` pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facealbedo.params.face_model import FaceModelParams

if TYPE_CHECKING:
    from facealbedo.core.face_model.atlas import Atlas
    from facealbedo.core.face_model.build import HeadGeometry
    from facealbedo.core.face_model.embedding import LandmarkTable
    from facealbedo.core.face_model.makehuman import MakeHumanData
    from facealbedo.core.face_model.model import StoredFaceModel


def build_head(params: FaceModelParams, source: MakeHumanData) -> HeadGeometry:
    """Cut the head, draw the population, make identity and expression bases (metres)."""
    from facealbedo.core.face_model.basis import PopulationConfig
    from facealbedo.core.face_model.build import build_geometry

    return build_geometry(source, PopulationConfig(**params.population.model_dump()))


def lay_out_atlas(params: FaceModelParams, geometry: HeadGeometry) -> Atlas:
    """Lay out the symmetric UV atlas of the skin."""
    from facealbedo.core.face_model.atlas import AtlasConfig, make_atlas

    surface = geometry.surface
    triangles = surface.triangles[: surface.n_atlas_triangles]
    return make_atlas(geometry.vertices, triangles, surface.mirror, AtlasConfig(**params.atlas.model_dump()))


def assemble_model(
    params: FaceModelParams, source: MakeHumanData, geometry: HeadGeometry, atlas: Atlas, landmark_table: LandmarkTable
) -> StoredFaceModel:
    """Embed the landmarks, paint the regions, and put everything together."""
    from facealbedo.core.face_model.build import assemble, build_landmarks, paint_regions

    landmarks, landmarks_uv = build_landmarks(geometry, atlas, landmark_table)
    regions = paint_regions(source, geometry, atlas, landmarks_uv)
    provenance = {
        **source.provenance,
        "landmarks": repr(dict(landmark_table.provenance)),
        "parameters": params.model_dump_json(),
    }
    return assemble(geometry, atlas, regions, landmarks, provenance)
