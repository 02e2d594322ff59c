"""Cut the head out of MakeHuman's body and lay out its parts.

Base level (what the bases are stored on): skin vertices, then teeth and tongue, then four control points an eye.
Surface level (what is decoded): one Catmull-Clark step of skin, of teeth and tongue, and two spherical eyeballs whose
vertices are affine combinations of their control points. One sparse matrix takes base to surface.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int

from facealbedo.core.face_model.makehuman import MakeHumanMesh, SourceDataError
from facealbedo.core.face_model.subdivision import (
    catmull_clark,
    match_mirrored_faces,
    mirror_of_points,
    symmetric_triangles,
)

PARTS = ("skin", "cavity", "sclera", "iris", "pupil", "teeth", "tongue")
"""Names of the parts; ``triangle_part`` indexes them. ``cavity`` is the mouth bag and the eye sockets."""

NECK_VERTEX = 1522
"""Vertex of the base mesh at the front of the neck, 7 cm below the chin; the head is cut along its edge loop."""
CROWN_VERTEX = 881
"""Highest vertex of the base mesh."""

ORAL_GROUPS = {"helper-upper-teeth": "teeth", "helper-lower-teeth": "teeth", "helper-tongue": "tongue"}
EYE_GROUPS = ("helper-l-eye", "helper-r-eye")

# The eyeball: half angles of its rings about the optical axis, in degrees. The mean eyeball is a sphere of 17 mm radius
# (MakeHuman's lids rest on it; a real one has 12), so that 20 degrees make a limbus of 11.7 mm, the mean horizontal
# visible iris diameter of adults (Rüfer et al., Cornea 24, 2005), and 7 degrees a pupil of 4.2 mm.
PUPIL_DEGREES = 7.0
IRIS_DEGREES = 20.0
EYEBALL_RINGS = (3.5, 7.0, 11.3, 15.6, 20.0, 26.0, 33.0, 41.0, 50.0, 61.0, 73.0, 86.0, 100.0, 118.0, 140.0, 160.0)
EYEBALL_SECTORS = 32
N_EYEBALL_VERTICES = len(EYEBALL_RINGS) * EYEBALL_SECTORS + 2
N_EYE_CONTROLS = 4
"""Control points an eye: the centre, then one radius along +x, +y, +z from it."""


@dataclass(frozen=True)
class HeadCut:
    """Which vertices of MakeHuman's mesh make the head, and its base-level quads.

    Args:
        source_vertex: index in MakeHuman's mesh of each skin vertex, then of each vertex of teeth and tongue.
        n_skin: number of skin vertices.
        skin_quads: quads of the skin (base-level indexes).
        skin_quad_uvs: their corners in MakeHuman's own UV layout (v up).
        skin_quad_in_atlas: False for mouth bag and eye sockets.
        oral_quads: quads of teeth and tongue, counted from the first oral vertex.
        oral_quad_part: part name of each.
        eye_vertices: MakeHuman's vertices of the left eye, then of the right one, partner by partner.
        mirror: base-level partner of each vertex (skin and oral).
    """

    source_vertex: Int[np.ndarray, "base"]
    n_skin: int
    skin_quads: Int[np.ndarray, "quad 4"]
    skin_quad_uvs: Float[np.ndarray, "quad 4 2"]
    skin_quad_in_atlas: Bool[np.ndarray, "quad"]
    oral_quads: Int[np.ndarray, "oral 4"]
    oral_quad_part: tuple[str, ...]
    eye_vertices: Int[np.ndarray, "2 eye_vertex"]
    mirror: Int[np.ndarray, "base"]

    @property
    def n_oral(self) -> int:
        """Number of base-level vertices of teeth and tongue."""
        return len(self.source_vertex) - self.n_skin

    @property
    def n_base(self) -> int:
        """Number of base-level vertices, the eyes' control points included."""
        return len(self.source_vertex) + 2 * N_EYE_CONTROLS

    @property
    def mirror_with_controls(self) -> Int[np.ndarray, "base"]:
        """Partner of each base-level vertex; the eyes' control points are swapped (their x axes mirror: see there)."""
        left = len(self.source_vertex) + np.arange(N_EYE_CONTROLS)
        return np.concatenate([self.mirror, left + N_EYE_CONTROLS, left])


@dataclass(frozen=True)
class Surface:
    """The decoded mesh's topology, and the sparse matrix that makes its vertices from the base level.

    Args:
        matrix: ``[n_vertices, n_base]``, rows sum to 1.
        triangles: those of the atlas first, then cavities, sclera, iris, pupil, teeth and tongue.
        triangle_part: index into `PARTS`.
        n_atlas_triangles: how many triangles have a place in the atlas.
        n_skin_vertices: skin vertices come first.
        mirror: partner of each vertex.
    """

    matrix: sp.csr_matrix
    triangles: Int[np.ndarray, "triangle 3"]
    triangle_part: Int[np.ndarray, "triangle"]
    n_atlas_triangles: int
    n_skin_vertices: int
    mirror: Int[np.ndarray, "vertex"]


def cut_head(mesh: MakeHumanMesh) -> HeadCut:
    """Cut the head off along an edge loop of the neck; take eyeballs, teeth and tongue along.

    Cutting along an edge loop keeps the border smooth in every identity. MakeHuman's UV islands tell the outer skin
    (head and neck) from the mouth bag and the eye sockets.

    Raises:
        SourceDataError: if the mesh is not MakeHuman's ``hm08``.
    """
    body = np.array([name == "body" for name in mesh.groups])
    quads, uv_quads = mesh.quads[body], mesh.uv_quads[body]
    loop = _edge_loop(quads, mesh.vertices, NECK_VERTEX)
    inside = _flood(quads, loop, CROWN_VERTEX)
    quads, uv_quads = quads[inside], uv_quads[inside]
    island = _uv_islands(uv_quads, len(mesh.uvs))
    crown = island[(quads == CROWN_VERTEX).any(axis=1)][0]
    neck = island[(quads == NECK_VERTEX).any(axis=1)][0]

    skin_source = np.unique(quads)
    oral = [(mesh.quads_of(group), part) for group, part in ORAL_GROUPS.items()]
    oral_source = np.unique(np.concatenate([part_quads for part_quads, _ in oral]))
    source = np.concatenate([skin_source, oral_source])
    to_base = np.full(len(mesh.vertices), -1)
    to_base[source] = np.arange(len(source))
    points = mesh.vertices[source]
    left_eye = np.unique(mesh.quads_of(EYE_GROUPS[0]))
    right_eye = np.unique(mesh.quads_of(EYE_GROUPS[1]))
    return HeadCut(
        source_vertex=source,
        n_skin=len(skin_source),
        skin_quads=to_base[quads],
        skin_quad_uvs=mesh.uvs[uv_quads],
        skin_quad_in_atlas=np.isin(island, [crown, neck]),
        oral_quads=to_base[np.concatenate([part_quads for part_quads, _ in oral])] - len(skin_source),
        oral_quad_part=tuple(part for part_quads, part in oral for _ in part_quads),
        eye_vertices=np.stack([left_eye, right_eye]),
        mirror=mirror_of_points(points),
    )


def eye_controls(eye_points: Float[np.ndarray, "*batch eye_vertex 3"]) -> Float[np.ndarray, "*batch 4 3"]:
    """Return the control points of a sphere fitted to the vertices of an eye: centre, centre + radius along x, y, z.

    The eye is kept a sphere with its optical axis along +z: identity moves and scales it, it never turns or squashes
    it. The sphere is the algebraic least-squares one, |p|² = 2 c·p + k.
    """
    origin = eye_points.mean(axis=-2, keepdims=True)
    local = eye_points - origin
    columns = np.concatenate([2.0 * local, np.ones_like(local[..., :1])], axis=-1)
    squares = (local**2).sum(axis=-1)
    solution = (np.linalg.pinv(columns) @ squares[..., None])[..., 0]
    centre = solution[..., :3]
    radius = np.sqrt(solution[..., 3] + (centre**2).sum(axis=-1))
    axes = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    return (origin[..., 0, :] + centre)[..., None, :] + radius[..., None, None] * axes


def mirror_base_points(points: Float[np.ndarray, "*batch base 3"], cut: HeadCut) -> Float[np.ndarray, "*batch base 3"]:
    """Mirror base-level points (positions or displacements) in the plane x = 0.

    The x control point of an eye lies at +x of its centre on both sides, so its image is rebuilt from the other eye's:
    ``c' + (c - p_x)'`` mirrored, that is, ``2 c - p_x``.
    """
    flipped = points * np.array([-1.0, 1.0, 1.0])
    out = flipped[..., cut.mirror_with_controls, :]
    for eye in range(2):
        centre = len(cut.source_vertex) + N_EYE_CONTROLS * eye
        out[..., centre + 1, :] = 2.0 * out[..., centre, :] - out[..., centre + 1, :]
    return out


def build_surface(cut: HeadCut, base_points: Float[np.ndarray, "base 3"]) -> Surface:
    """Subdivide skin, teeth and tongue once, make the eyeballs, and order the triangles by part.

    Args:
        cut: the head.
        base_points: symmetric base-level rest shape (any unit), eyes' control points included.
    """
    matrix = surface_matrix(cut.skin_quads, cut.n_skin, cut.oral_quads, cut.n_oral)
    quads, quad_part, n_skin = _surface_quads(cut)
    points = matrix @ base_points
    mirror = mirror_of_points(points, tolerance=1e-9 * np.abs(points).max())
    triangles = symmetric_triangles(quads, points, mirror)
    part = np.repeat(quad_part, 2)
    fans, fan_part = _eyeball_fans(len(points))
    triangles = np.concatenate([triangles, fans])
    part = np.concatenate([part, fan_part])
    order = np.argsort(part, kind="stable")
    match_mirrored_faces(triangles, mirror)
    return Surface(
        matrix=matrix,
        triangles=triangles[order],
        triangle_part=part[order],
        n_atlas_triangles=int((part == PARTS.index("skin")).sum()),
        n_skin_vertices=n_skin,
        mirror=mirror,
    )


def surface_matrix(
    skin_quads: Int[np.ndarray, "quad 4"], n_skin: int, oral_quads: Int[np.ndarray, "oral 4"], n_oral: int
) -> sp.csr_matrix:
    """Return the matrix ``[n_vertices, n_base]`` that makes surface vertices from base-level vertices.

    Rows: subdivided skin, subdivided teeth and tongue, left eyeball, right eyeball.
    """
    skin, oral, eye = catmull_clark(skin_quads, n_skin), catmull_clark(oral_quads, n_oral), _eyeball_matrix()
    return sp.block_diag([skin.matrix, oral.matrix, eye, eye], format="csr")


def sample_makehuman_texture(cut: HeadCut, texture: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "skin"]:
    """Return a texture in MakeHuman's UV layout at the skin's surface vertices (bilinear; mean over adjacent quads)."""
    corners = cut.skin_quad_uvs
    following, before = np.roll(corners, -1, axis=1), np.roll(corners, 1, axis=1)
    centre = np.broadcast_to(corners.mean(axis=1, keepdims=True), corners.shape)
    # Corner k of an old quad makes the new quad (corner, edge ahead, centre, edge behind): see `Subdivision.quads`.
    new = np.stack([corners, 0.5 * (corners + following), centre, 0.5 * (corners + before)], axis=2)
    new = new.transpose(1, 0, 2, 3).reshape(-1, 4, 2)
    height, width = texture.shape
    x = np.clip(new[..., 0] * width - 0.5, 0.0, width - 1.001)
    y = np.clip((1.0 - new[..., 1]) * height - 0.5, 0.0, height - 1.001)
    column, row = x.astype(int), y.astype(int)
    right, down = x - column, y - row
    upper = (1.0 - right) * texture[row, column] + right * texture[row, column + 1]
    lower = (1.0 - right) * texture[row + 1, column] + right * texture[row + 1, column + 1]
    values = (1.0 - down) * upper + down * lower
    quads = catmull_clark(cut.skin_quads, cut.n_skin).quads
    return np.bincount(quads.ravel(), values.ravel()) / np.bincount(quads.ravel())


def _surface_quads(cut: HeadCut) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the quads of the surface (all but the eyeballs' poles), their parts, and the number of skin vertices."""
    skin = catmull_clark(cut.skin_quads, cut.n_skin)
    oral = catmull_clark(cut.oral_quads, cut.n_oral)
    eye_quads, eye_part = _eyeball_quads()
    n_skin = skin.matrix.shape[0]
    first_eye = n_skin + oral.matrix.shape[0]
    quads = [skin.quads, oral.quads + n_skin, eye_quads + first_eye, eye_quads + first_eye + N_EYEBALL_VERTICES]
    skin_part = np.where(cut.skin_quad_in_atlas, PARTS.index("skin"), PARTS.index("cavity"))
    oral_part = np.array([PARTS.index(name) for name in cut.oral_quad_part])
    parts = [np.tile(skin_part, 4), np.tile(oral_part, 4), eye_part, eye_part]
    return np.concatenate(quads), np.concatenate(parts), n_skin


def _eyeball_directions() -> Float[np.ndarray, "vertex 3"]:
    """Unit vectors of the eyeball's vertices: front pole, rings of growing angle from +z, back pole."""
    polar = np.radians(EYEBALL_RINGS)[:, None]
    # Half a sector off the axes: no edge lies in the plane x = 0 of an eye, which keeps sines and cosines symmetric.
    azimuth = 2.0 * np.pi * (np.arange(EYEBALL_SECTORS) + 0.5) / EYEBALL_SECTORS
    x, y = np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth)
    rings = np.stack([x, y, np.broadcast_to(np.cos(polar), x.shape)], axis=-1).reshape(-1, 3)
    return np.concatenate([[[0.0, 0.0, 1.0]], rings, [[0.0, 0.0, -1.0]]])


def _eyeball_matrix() -> sp.csr_matrix:
    directions = _eyeball_directions()
    # c + dx (p_x - c) + dy (p_y - c) + dz (p_z - c)
    return sp.csr_matrix(np.concatenate([1.0 - directions.sum(axis=1, keepdims=True), directions], axis=1))


def _eyeball_quads() -> tuple[np.ndarray, np.ndarray]:
    sector = np.arange(EYEBALL_SECTORS)
    following = (sector + 1) % EYEBALL_SECTORS
    quads, parts = [], []
    for ring in range(len(EYEBALL_RINGS) - 1):
        inner, outer = 1 + ring * EYEBALL_SECTORS, 1 + (ring + 1) * EYEBALL_SECTORS
        quads.append(np.stack([inner + sector, outer + sector, outer + following, inner + following], axis=1))
        parts.append(np.full(EYEBALL_SECTORS, _eyeball_part(EYEBALL_RINGS[ring + 1])))
    return np.concatenate(quads), np.concatenate(parts)


def _eyeball_fans(n_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """The triangles at the poles of the two eyeballs, which are the last vertices of the surface."""
    sector = np.arange(EYEBALL_SECTORS)
    following = (sector + 1) % EYEBALL_SECTORS
    last_ring = 1 + (len(EYEBALL_RINGS) - 1) * EYEBALL_SECTORS
    front = np.stack([np.zeros_like(sector), 1 + sector, 1 + following], axis=1)
    back = np.stack([np.full_like(sector, N_EYEBALL_VERTICES - 1), last_ring + following, last_ring + sector], axis=1)
    triangles = [fan + n_vertices - (2 - eye) * N_EYEBALL_VERTICES for eye in range(2) for fan in (front, back)]
    part = np.repeat([PARTS.index("pupil"), PARTS.index("sclera")] * 2, EYEBALL_SECTORS)
    return np.concatenate(triangles), part


def _eyeball_part(outer_degrees: float) -> int:
    if outer_degrees <= PUPIL_DEGREES:
        return PARTS.index("pupil")
    return PARTS.index("iris") if outer_degrees <= IRIS_DEGREES else PARTS.index("sclera")


def _edge_loop(quads: np.ndarray, points: np.ndarray, start: int) -> list[int]:
    """Walk straight across vertices with four edges, from the mid-line to +x, until the loop closes."""
    neighbours: dict[int, set[int]] = defaultdict(set)
    faces: dict[tuple[int, int], set[int]] = defaultdict(set)
    for face, quad in enumerate(quads.tolist()):
        for a, b in zip(quad, quad[1:] + quad[:1], strict=True):
            neighbours[a].add(b)
            neighbours[b].add(a)
            faces[min(a, b), max(a, b)].add(face)
    sideways = [vertex for vertex in neighbours[start] if points[vertex, 0] > 1e-4]
    if abs(points[start, 0]) > 1e-6 or len(sideways) != 1:
        raise SourceDataError(f"vertex {start} is not a plain vertex of the mid-line: not MakeHuman's hm08 mesh?")
    loop = [start, sideways[0]]
    while True:
        before, here = loop[-2:]
        touched = faces[min(before, here), max(before, here)]
        ahead = [v for v in neighbours[here] if v != before and not faces[min(v, here), max(v, here)] & touched]
        if len(neighbours[here]) != 4 or len(ahead) != 1 or len(loop) > len(points):
            raise SourceDataError(f"the edge loop of vertex {start} does not close: not MakeHuman's hm08 mesh?")
        if ahead[0] == start:
            return loop
        loop.append(ahead[0])


def _flood(quads: np.ndarray, loop: list[int], start: int) -> Bool[np.ndarray, "quad"]:
    """Return which quads are connected with the vertex ``start`` without crossing the edges of ``loop``."""
    half_edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    keys = np.sort(half_edges, axis=1) @ np.array([1 << 32, 1])
    closed = np.sort(np.stack([loop, np.roll(loop, -1)], axis=1), axis=1) @ np.array([1 << 32, 1])
    face = np.repeat(np.arange(len(quads)), 4)
    open_edge = ~np.isin(keys, closed)
    unique, edge = np.unique(keys[open_edge], return_inverse=True)
    label = _components(face[open_edge], edge, len(quads), len(unique))
    return label == label[np.nonzero((quads == start).any(axis=1))[0][0]]


def _uv_islands(uv_quads: np.ndarray, n_uvs: int) -> Int[np.ndarray, "quad"]:
    """Return for each quad the number of its island in MakeHuman's UV layout."""
    return _components(np.repeat(np.arange(len(uv_quads)), 4), uv_quads.ravel(), len(uv_quads), n_uvs)


def _components(faces: np.ndarray, items: np.ndarray, n_faces: int, n_items: int) -> Int[np.ndarray, "face"]:
    """Label faces that share items (edges or vertices), directly or through other faces."""
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 - only the build needs it

    n = n_faces + n_items
    graph = sp.coo_matrix((np.ones(len(faces)), (faces, n_faces + items)), shape=(n, n))
    return connected_components(graph, directed=False)[1][:n_faces]
