"""Build the embedded face model from MakeHuman's data: cut, bases, atlas, regions, landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from facealbedo.core.face_model.atlas import Atlas
from facealbedo.core.face_model.basis import (
    ExpressionBasis,
    IdentityBasis,
    PopulationConfig,
    align_by_similarity,
    base_points,
    expression_basis,
    front_of_face,
    identity_basis,
    sample_population,
)
from facealbedo.core.face_model.embedding import (
    N_SURFACE_LANDMARKS,
    LandmarkTable,
    ibug68_from_mediapipe,
    mediapipe478,
)
from facealbedo.core.face_model.head import (
    N_EYE_CONTROLS,
    PARTS,
    HeadCut,
    Surface,
    build_surface,
    cut_head,
    sample_makehuman_texture,
)
from facealbedo.core.face_model.makehuman import MakeHumanData
from facealbedo.core.face_model.model import LandmarkEmbedding, StoredFaceModel
from facealbedo.core.face_model.regions import build_regions

INTERPUPILLARY_METRES = 0.063
"""Distance between the mean face's eyeball centres: the adult mean (Dodgson, SPIE 5291, 2004), which sets the scale."""

IDENTITY_SAMPLING_STD = 0.45
"""Root mean square of the identity coefficients that fits to photos find; heads drawn with 1 are caricatures."""


@dataclass(frozen=True)
class HeadGeometry:
    """Mesh and bases in the model's frame: metres, the origin between the mean face's eyeball centres.

    Args:
        cut: which vertices of MakeHuman's mesh were taken.
        surface: the subdivided mesh.
        identity, expression: bases at the base level, metres.
    """

    cut: HeadCut = field(repr=False)
    surface: Surface = field(repr=False)
    identity: IdentityBasis = field(repr=False)
    expression: ExpressionBasis = field(repr=False)

    @property
    def vertices(self) -> Float[np.ndarray, "vertex 3"]:
        """Mean face at the surface level (metres)."""
        return self.surface.matrix @ self.identity.mean


def build_geometry(data: MakeHumanData, config: PopulationConfig) -> HeadGeometry:
    """Cut the head, draw the population, and make both bases, in metres."""
    cut = cut_head(data.mesh)
    front = front_of_face(data, cut)
    rest = base_points(data.mesh.vertices, cut)
    samples = align_by_similarity(
        sample_population(data, cut, config), rest, front, n_controls=rest.shape[0] - len(cut.source_vertex)
    )
    identity = identity_basis(samples, cut, front, config)
    expression = expression_basis(data, cut)
    centres = identity.mean[len(cut.source_vertex) :: N_EYE_CONTROLS]
    scale = INTERPUPILLARY_METRES / np.linalg.norm(centres[0] - centres[1])
    identity = IdentityBasis(
        mean=(identity.mean - centres.mean(axis=0)) * scale,
        components=identity.components * scale,
        parity=identity.parity,
        weight=identity.weight,
        explained=identity.explained,
    )
    expression = ExpressionBasis(expression.names, expression.units * scale, expression.mirror)
    return HeadGeometry(cut, build_surface(cut, identity.mean), identity, expression)


def ear_motion(data: MakeHumanData, geometry: HeadGeometry) -> Float[np.ndarray, "vertex"]:
    """Return how far MakeHuman's targets that turn the ears out move each surface vertex, greatest value 1."""
    n_source = len(data.mesh.vertices)
    left, right = (data.targets[f"ears/{side}-ear-wing-incr"].dense(n_source) for side in ("l", "r"))
    base = np.zeros_like(geometry.identity.mean)
    base[: len(geometry.cut.source_vertex)] = (left + right)[geometry.cut.source_vertex]
    motion = np.linalg.norm(geometry.surface.matrix @ base, axis=1)
    return motion / motion.max()


def lip_paint(data: MakeHumanData, mirror: Int[np.ndarray, "vertex"]) -> Float[np.ndarray, "vertex"]:
    """Return MakeHuman's lip mask at the surface vertices, symmetrised.

    Args:
        data: source data.
        mirror: partner of each surface vertex.
    """
    paint = np.zeros(len(mirror))
    on_skin = sample_makehuman_texture(cut_head(data.mesh), data.lip_mask)
    paint[: len(on_skin)] = on_skin
    return 0.5 * (paint + paint[mirror])


def build_landmarks(
    geometry: HeadGeometry, atlas: Atlas, table: LandmarkTable
) -> tuple[dict[str, LandmarkEmbedding], Float[np.ndarray, "landmark 2"]]:
    """Embed the landmarks of a table; return the embeddings by kind, and the surface landmarks in the atlas."""
    surface = geometry.surface
    mediapipe = mediapipe478(
        table.positions, table.spread_mm, geometry.vertices, surface.triangles, surface.n_atlas_triangles
    )
    chosen = slice(0, N_SURFACE_LANDMARKS)
    corners = atlas.uv[atlas.triangles[mediapipe.triangles[chosen]]]
    in_atlas = np.einsum("lk,lkc->lc", mediapipe.barycentrics[chosen].astype(np.float64), corners)
    return {"mediapipe478": mediapipe, "ibug68": ibug68_from_mediapipe(mediapipe)}, in_atlas


def paint_regions(
    data: MakeHumanData, geometry: HeadGeometry, atlas: Atlas, landmarks_uv: Float[np.ndarray, "landmark 2"]
) -> dict[str, Float[np.ndarray, "uv"]]:
    """Return the region masks at the uv vertices."""
    triangles = geometry.surface.triangles[: geometry.surface.n_atlas_triangles]
    return build_regions(geometry.vertices, triangles, atlas, landmarks_uv, ear_motion(data, geometry))


def assemble(
    geometry: HeadGeometry,
    atlas: Atlas,
    regions: Mapping[str, Float[np.ndarray, "uv"]],
    landmarks: Mapping[str, LandmarkEmbedding],
    provenance: Mapping[str, str],
) -> StoredFaceModel:
    """Put the parts together in the types in which they are stored."""
    cut, surface = geometry.cut, geometry.surface
    weights = np.stack([np.round(255.0 * np.clip(mask, 0.0, 1.0)) for mask in regions.values()])
    return StoredFaceModel(
        base_mean=geometry.identity.mean.astype(np.float32),
        base_identity=geometry.identity.components.astype(np.float16),
        base_expression=geometry.expression.units.astype(np.float16),
        skin_quads=cut.skin_quads.astype(np.uint16),
        oral_quads=cut.oral_quads.astype(np.uint16),
        identity_parity=geometry.identity.parity.astype(np.int8),
        expression_mirror=geometry.expression.mirror.astype(np.uint8),
        triangles=surface.triangles.astype(np.uint16),
        triangle_part=surface.triangle_part.astype(np.uint8),
        vertex_mirror=surface.mirror.astype(np.uint16),
        uv=atlas.uv.astype(np.float32),
        uv_triangles=atlas.triangles.astype(np.uint16),
        uv_source=atlas.source.astype(np.uint16),
        uv_mirror=atlas.mirror.astype(np.uint16),
        region_weights=weights.astype(np.uint8),
        part_names=PARTS,
        expression_names=geometry.expression.names,
        region_names=tuple(regions),
        landmarks=landmarks,
        identity_sampling_std=IDENTITY_SAMPLING_STD,
        provenance=provenance,
    )
