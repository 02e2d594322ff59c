"""The UV atlas of the skin: one chart, exactly left-right symmetric, without flips or overlaps.

1. Cut the skin open along the back's mid-line, from the neck to the back of the crown; close mouth and eyes with hubs.
2. Tutte's embedding (mean-value weights) into a rounded square.
3. A few reweightings after Yoshizawa, Belyaev and Seidel ("A fast and simple stretch-minimizing mesh
   parameterization", SMI 2004) towards the wanted texel density.
4. Descent of the symmetric Dirichlet energy with a free border (Smith and Schaefer, "Bijective parameterization with
   free boundaries", SIGGRAPH 2015) by projected Newton steps that cannot flip a triangle; everything is averaged with
   its mirror image.

Inside the optimisation coordinates lie in [-1, 1] with v up; the result has v down and lies in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int

GRID = 2.0**-20
"""Coordinates are rounded to this grid, on which 1 - u is exact in float32: the mirror image is exact."""


class AtlasError(RuntimeError):
    """No valid atlas was found."""


@dataclass(frozen=True)
class Atlas:
    """A UV layout: u right, v down, in [0, 1]. One triangle for each of the surface's atlas triangles, in order.

    Args:
        uv: coordinates; ``uv[mirror]`` is exactly ``(1 - u, v)``.
        triangles: corners in ``uv``.
        source: surface vertex of each uv vertex.
        mirror: partner of each uv vertex.
    """

    uv: Float[np.ndarray, "uv 2"]
    triangles: Int[np.ndarray, "atlas_triangle 3"]
    source: Int[np.ndarray, "uv"]
    mirror: Int[np.ndarray, "uv"]


@dataclass(frozen=True)
class AtlasConfig:
    """How the atlas is laid out.

    Args:
        back_density: wanted texels per millimetre behind, in units of those on the face.
        seam_top: the seam ends at the first vertex of the mid-line with a greater z (metres).
        seam_share: share of the border that each side of the seam takes at the start.
        border_power: exponent of the superellipse that the border starts on.
        n_reweightings: Yoshizawa steps.
        n_descents: greatest number of Newton steps.
        tolerance: stop when a step lowers the energy by less than this share of it.
        fill: wanted area of all triangles, in a square of area 4: more than 4 presses the chart into the corners.
        margin: empty rim of the square.
    """

    back_density: float = 0.16
    seam_top: float = -0.13
    seam_share: float = 0.34
    border_power: float = 10.0
    n_reweightings: int = 14
    n_descents: int = 150
    tolerance: float = 1e-6
    fill: float = 6.0
    margin: float = 0.008


@dataclass(frozen=True)
class _Chart:
    """An open surface, topologically a disc.

    Args:
        points: 3D positions (metres).
        triangles: the first ``n_real`` belong to the skin, the rest fill holes.
        mirror: partner of each vertex.
        source: vertex of the input mesh; -1 for hubs.
        border: the border, counter-clockwise, starting at the top end of the seam.
        n_seam: number of edges on each side of the seam.
    """

    points: Float[np.ndarray, "vertex 3"]
    triangles: Int[np.ndarray, "triangle 3"]
    n_real: int
    mirror: Int[np.ndarray, "vertex"]
    source: Int[np.ndarray, "vertex"]
    border: Int[np.ndarray, "border"]
    n_seam: int

    def symmetrised(self, uv: np.ndarray) -> np.ndarray:
        """Average of coordinates with their mirror image."""
        return 0.5 * (uv + uv[self.mirror] * [-1.0, 1.0])


def make_atlas(
    points: Float[np.ndarray, "vertex 3"],
    triangles: Int[np.ndarray, "triangle 3"],
    mirror: Int[np.ndarray, "vertex"],
    config: AtlasConfig,
) -> Atlas:
    """Lay out the skin.

    Args:
        points: mean face in the model's frame (metres).
        triangles: the atlas triangles, one component with a border at the neck and holes at mouth and eyes.
        mirror: partner of each vertex.
        config: see there.

    Raises:
        AtlasError: if a triangle ends flipped.
    """
    chart = _cut_open(*_fill_holes(points, triangles, mirror), n_real=len(triangles), seam_top=config.seam_top)
    density = target_density(chart.points, config.back_density)[chart.triangles].mean(axis=1)
    uv = _equalised_tutte(chart, density, config)
    uv = _descend(chart, uv, density, config)
    if (signed_areas(uv, chart.triangles) <= 0).any():
        raise AtlasError("the atlas has flipped triangles")
    return _finish(chart, uv, config.margin)


def target_density(points: Float[np.ndarray, "vertex 3"], back_density: float) -> Float[np.ndarray, "vertex"]:
    """Return the wanted density of texels a length: 1 on the face, less behind and on the neck, more at eyes and mouth.

    Args:
        points: positions in the model's frame (metres; the eyeballs' centres are at y = 0, x = ±0.0315).
        back_density: value behind.
    """
    x, y, z = points.T
    azimuth = np.abs(np.arctan2(x, z + 0.14))
    front = 1.0 - _smooth_step(azimuth, np.radians(50.0), np.radians(100.0))
    above_neck = _smooth_step(y, -0.155, -0.118) * _smooth_step(z, -0.105, -0.055)
    below_hair = 1.0 - _smooth_step(y, 0.055, 0.095)
    face = front * above_neck * below_hair
    eyes = np.exp(-((np.abs(x) - 0.0315) ** 2 + y**2) / 0.0225**2) * (z > -0.055)
    mouth = np.exp(-((x / 0.031) ** 2 + ((y + 0.078) / 0.0225) ** 2)) * (z > -0.045)
    return (back_density + (1.0 - back_density) * face) * (1.0 + 0.5 * eyes + 0.3 * mouth)


def signed_areas(uv: Float[np.ndarray, "uv 2"], triangles: Int[np.ndarray, "triangle 3"]) -> np.ndarray:
    """Return the triangles' areas in the plane, positive where counter-clockwise (first axis right, second up)."""
    a, b, c = (uv[triangles[:, corner]] for corner in range(3))
    return 0.5 * _cross(b - a, c - a)


def texels_per_mm(
    atlas: Atlas, points: Float[np.ndarray, "vertex 3"], resolution: int
) -> Float[np.ndarray, "atlas_triangle"]:
    """Return the texels a millimetre of each triangle (root of the area ratio) on a map of ``resolution`` squared."""
    flat = np.abs(signed_areas(atlas.uv.astype(np.float64), atlas.triangles)) * resolution**2
    return np.sqrt(flat / (_areas(points, atlas.source[atlas.triangles]) * 1e6))


def _fill_holes(
    points: np.ndarray, triangles: np.ndarray, mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compact the mesh and close every hole but the neck with a fan around a hub; return also each vertex's source."""
    source = np.unique(triangles)
    compact = np.full(len(points), -1)
    compact[source] = np.arange(len(source))
    points, triangles, mirror = points[source], compact[triangles], compact[mirror[source]]
    loops = _border_loops(triangles)
    neck = int(np.argmin([points[loop, 1].mean() for loop in loops]))
    holes = [loop for i, loop in enumerate(loops) if i != neck]
    hubs = len(points) + np.arange(len(holes))
    middles = np.array([points[loop].mean(axis=0) for loop in holes])
    fans = [
        np.stack([np.roll(loop, -1), loop, np.full(len(loop), hub)], axis=1)
        for loop, hub in zip(holes, hubs, strict=True)
    ]
    flipped = middles * [-1.0, 1.0, 1.0]
    partner = np.linalg.norm(middles[:, None] - flipped[None], axis=-1).argmin(axis=0)
    return (
        np.concatenate([points, middles]),
        np.concatenate([triangles, *fans]),
        np.concatenate([mirror, hubs[partner]]),
        np.concatenate([source, np.full(len(hubs), -1)]),
    )


def _cut_open(
    points: np.ndarray, triangles: np.ndarray, mirror: np.ndarray, source: np.ndarray, n_real: int, seam_top: float
) -> _Chart:
    """Double the vertices of the seam: the original stays on the side x > 0, the copy on the other."""
    seam = _seam(points, triangles, mirror, seam_top)
    doubled = np.array(seam[:-1])
    copy_of = np.arange(len(points))
    copies = len(points) + np.arange(len(doubled))
    copy_of[doubled] = copies
    left = points[triangles].mean(axis=1)[:, 0] > 0
    cut = np.where(left[:, None], triangles, copy_of[triangles])
    new_mirror = np.concatenate([mirror, doubled])
    new_mirror[doubled] = copies
    (border,) = _border_loops(cut)
    border = np.roll(border, -int(np.flatnonzero(border == seam[-1])[0]))
    return _Chart(
        points=np.concatenate([points, points[doubled]]),
        triangles=cut,
        n_real=n_real,
        mirror=new_mirror,
        source=np.concatenate([source, source[doubled]]),
        border=border,
        n_seam=len(doubled),
    )


def _seam(points: np.ndarray, triangles: np.ndarray, mirror: np.ndarray, top: float) -> list[int]:
    """Walk up the back's mid-line, from the neck's border until z exceeds ``top``."""
    edges = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    on_plane = mirror == np.arange(len(points))
    middle = edges[on_plane[edges].all(axis=1)]
    (neck,) = _border_loops(triangles)
    starts = [v for v in neck if on_plane[v] and points[v, 2] < points[neck, 2].mean()]
    if len(starts) != 1:
        raise AtlasError(f"expected one vertex of the neck's border on the mid-line behind, found {len(starts)}")
    path, walked = [int(starts[0])], {int(starts[0])}
    while not (points[path[-1], 2] > top and points[path[-1], 1] > 0.0):
        ahead = [v for v in middle[(middle == path[-1]).any(axis=1)].ravel().tolist() if v not in walked]
        if len(ahead) != 1:
            raise AtlasError(f"the mid-line at the back forks or ends after {len(path)} vertices")
        path.append(ahead[0])
        walked.add(ahead[0])
    return path


def _border_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Return the closed border loops, oriented like the triangles, longest-standing vertex order."""
    directed = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    keys = directed[:, 0] * (1 << 32) + directed[:, 1]
    back = directed[:, 1] * (1 << 32) + directed[:, 0]
    border = directed[~np.isin(keys, back)]
    following = dict(border.tolist())
    if len(following) != len(border):
        raise AtlasError("two borders touch in a vertex")
    loops = []
    while following:
        loop = [min(following)]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        loops.append(np.array(loop[:-1]))
    return loops


def _starting_border(chart: _Chart, config: AtlasConfig) -> Float[np.ndarray, "border 2"]:
    """Lay the border on a superellipse, counter-clockwise from the top; the seam takes its share on each side."""
    ahead = np.linalg.norm(chart.points[chart.border] - chart.points[np.roll(chart.border, -1)], axis=1)
    along = np.concatenate([[0.0], np.cumsum(ahead)[:-1]])
    n_seam, total = chart.n_seam, ahead.sum()
    first, last = along[n_seam], along[len(along) - n_seam]
    share = config.seam_share
    place = np.interp(along, [0.0, first, last, total], [0.0, share, 1.0 - share, 1.0])
    angle = np.linspace(0.0, 2.0 * np.pi, 20001)
    c, s, p = np.cos(angle), np.sin(angle), config.border_power
    radius = (np.abs(c) ** p + np.abs(s) ** p) ** (-1.0 / p)
    curve = np.stack([-radius * s, radius * c], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    length /= length[-1]
    return np.stack([np.interp(place, length, curve[:, axis]) for axis in range(2)], axis=1)


def _equalised_tutte(chart: _Chart, density: np.ndarray, config: AtlasConfig) -> Float[np.ndarray, "vertex 2"]:
    """Tutte embedding, reweighted to the wanted density; the best unflipped iterate."""
    border_uv = _starting_border(chart, config)
    weights = _mean_value_weights(chart)
    area = _areas(chart.points, chart.triangles)
    n = len(chart.points)
    around = np.bincount(chart.triangles.ravel(), np.repeat(area, 3), n)
    best: tuple[float, np.ndarray] | None = None
    for _ in range(config.n_reweightings):
        uv = chart.symmetrised(_solve_tutte(weights, chart.border, border_uv))
        stretch = _stretch(chart, uv) * density
        energy = float(np.sqrt((area * stretch**2).sum() / area.sum()))
        if (signed_areas(uv, chart.triangles) > 0).all() and (best is None or energy < best[0]):
            best = (energy, uv)
        local = np.sqrt(np.bincount(chart.triangles.ravel(), np.repeat(area * stretch**2, 3), n) / around)
        factor = (local / np.median(local)) ** 0.7
        factor = np.clip(0.5 * (factor + factor[chart.mirror]), 1e-3, 1e3)
        weights = weights @ sp.diags(1.0 / factor)
    if best is None:
        raise AtlasError("no Tutte embedding without flips was found")
    return best[1]


def _mean_value_weights(chart: _Chart) -> sp.csr_matrix:
    """Floater's mean-value weights (they are positive, so the embedding has no flips)."""
    n = len(chart.points)
    rows, columns, values = [], [], []
    for corner in range(3):
        i, j, k = (chart.triangles[:, (corner + step) % 3] for step in range(3))
        to_j, to_k = chart.points[j] - chart.points[i], chart.points[k] - chart.points[i]
        length_j, length_k = np.linalg.norm(to_j, axis=1), np.linalg.norm(to_k, axis=1)
        cosine = (to_j * to_k).sum(axis=1) / (length_j * length_k)
        half_tangent = np.sqrt(np.maximum(1.0 - cosine, 0.0) / np.maximum(1.0 + cosine, 1e-9))
        rows += [i, i]
        columns += [j, k]
        values += [half_tangent / length_j, half_tangent / length_k]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sp.csr_matrix(entries, shape=(n, n))


def _solve_tutte(weights: sp.csr_matrix, border: np.ndarray, border_uv: np.ndarray) -> np.ndarray:
    """Place every inner vertex at the weighted mean of its neighbours."""
    from scipy.sparse.linalg import splu  # noqa: PLC0415 - only the build needs it

    n = weights.shape[0]
    inner = np.setdiff1d(np.arange(n), border)
    laplacian = (sp.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights).tocsr()
    uv = np.zeros((n, 2))
    uv[border] = border_uv
    right = -(laplacian[inner][:, border] @ border_uv)
    uv[inner] = splu(laplacian[inner][:, inner].tocsc()).solve(right)
    return uv


def _stretch(chart: _Chart, uv: np.ndarray) -> np.ndarray:
    """Root mean square length, in 3D, of a unit vector of the plane, for each triangle (Sander et al. 2001)."""
    jacobian = _plane_frames(chart.points, chart.triangles)
    flat = _edges(uv, chart.triangles)
    area = np.maximum(0.5 * _cross(flat[:, :, 0], flat[:, :, 1]), 1e-12)
    inverse = (
        np.stack(
            [
                np.stack([flat[:, 1, 1], -flat[:, 0, 1]], axis=1),
                np.stack([-flat[:, 1, 0], flat[:, 0, 0]], axis=1),
            ],
            axis=1,
        )
        / (2.0 * area)[:, None, None]
    )
    return np.sqrt(((jacobian @ inverse) ** 2).sum(axis=(1, 2)) / 2.0)


def _descend(chart: _Chart, uv: np.ndarray, density: np.ndarray, config: AtlasConfig) -> np.ndarray:
    """Lower the symmetric Dirichlet energy until it stalls; no step flips a triangle."""
    problem = _Dirichlet.of(chart, uv, density, config.fill)
    energy, gradient = problem.energy(uv), problem.gradient(uv)
    for _ in range(config.n_descents):
        direction = problem.newton_direction(uv, gradient)
        slope = float((gradient * direction).sum())
        length = min(1.0, 0.9 * _longest_step(uv, direction, chart.triangles))
        while (new_energy := problem.energy(uv + length * direction)) > energy + 1e-4 * length * slope:
            length *= 0.5
            if length < 1e-8:
                raise AtlasError(f"the descent is stuck at the energy {energy:.6f}")
        uv = uv + length * direction
        gain, energy, gradient = energy - new_energy, new_energy, problem.gradient(uv)
        if gain < config.tolerance * energy:
            return uv
    raise AtlasError(f"the descent did not settle in {config.n_descents} steps")


@dataclass(frozen=True)
class _Dirichlet:
    """Symmetric Dirichlet energy |J|² + |J⁻¹|² against the wanted shapes, plus a soft wall around [-1, 1]²."""

    chart: _Chart
    to_rest: Float[np.ndarray, "triangle 2 2"]
    weight: Float[np.ndarray, "triangle"]
    wall: float = 50.0

    @classmethod
    def of(cls, chart: _Chart, uv: np.ndarray, density: np.ndarray, fill: float) -> _Dirichlet:
        """Wanted shape of a triangle: its shape in 3D, scaled by the density so that all have the area ``fill``."""
        area = _areas(chart.points, chart.triangles) * density**2
        scale = density * np.sqrt(fill / area.sum())
        frames = _plane_frames(chart.points, chart.triangles) * scale[:, None, None]
        weight = area / area.sum()
        weight = np.maximum(weight, 0.05 * np.median(weight))
        # The triangles that fill holes keep the shape that they have, and hardly count.
        frames[chart.n_real :] = _edges(uv, chart.triangles[chart.n_real :])
        weight[chart.n_real :] = 0.01 * np.median(weight)
        return cls(chart=chart, to_rest=np.linalg.inv(frames), weight=weight)

    def energy(self, uv: np.ndarray) -> float:
        """The energy; infinite where a triangle is flipped."""
        jacobian = _edges(uv, self.chart.triangles) @ self.to_rest
        determinant = np.linalg.det(jacobian)
        if (determinant <= 0).any():
            return float("inf")
        norm = (jacobian**2).sum(axis=(1, 2))
        outside = np.maximum(np.abs(uv) - 1.0, 0.0)
        return float((self.weight * norm * (1.0 + determinant**-2)).sum() + self.wall * (outside**2).sum())

    def gradient(self, uv: np.ndarray) -> np.ndarray:
        """The gradient, symmetrised."""
        triangles = self.chart.triangles
        j = _edges(uv, triangles) @ self.to_rest
        determinant = np.linalg.det(j)[:, None, None]
        norm = (j**2).sum(axis=(1, 2))[:, None, None]
        cofactor = np.stack(
            [np.stack([j[:, 1, 1], -j[:, 1, 0]], axis=1), np.stack([-j[:, 0, 1], j[:, 0, 0]], axis=1)], axis=1
        )
        by_j = self.weight[:, None, None] * (2.0 * j * (1.0 + determinant**-2) - 2.0 * norm / determinant**3 * cofactor)
        by_edges = by_j @ self.to_rest.transpose(0, 2, 1)
        out = np.zeros_like(uv)
        for axis in range(2):
            for corner, value in (
                (0, -by_edges[:, axis].sum(axis=1)),
                (1, by_edges[:, axis, 0]),
                (2, by_edges[:, axis, 1]),
            ):
                out[:, axis] += np.bincount(triangles[:, corner], value, len(uv))
        out += 2.0 * self.wall * np.maximum(np.abs(uv) - 1.0, 0.0) * np.sign(uv)
        return self.chart.symmetrised(out)

    def newton_direction(self, uv: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the Newton step with each triangle's Hessian projected to positive definite ones, symmetrised."""
        from scipy.sparse.linalg import splu  # noqa: PLC0415 - only the build needs it

        triangles, n = self.chart.triangles, len(uv)
        values, vectors = np.linalg.eigh(self._hessians(uv))
        projected = (vectors * np.maximum(values, 1e-9 * values[:, -1:])[:, None]) @ vectors.transpose(0, 2, 1)
        b = self.to_rest
        hats = np.stack([-(b[:, 0] + b[:, 1]), b[:, 0], b[:, 1]], axis=1)
        # Jacobian entries (row a, column j) from corner coordinates (corner i, axis a): dJ_aj / dx_ia = hats_ij.
        blocks = np.einsum("tij,tajbl,tkl->tiakb", hats, projected.reshape(-1, 2, 2, 2, 2), hats)
        unknown = 2 * triangles[:, :, None] + np.arange(2)
        shape = blocks.shape
        rows = np.broadcast_to(unknown[:, :, :, None, None], shape).ravel()
        columns = np.broadcast_to(unknown[:, None, None], shape).ravel()
        hessian = sp.csc_matrix((blocks.ravel(), (rows, columns)), shape=(2 * n, 2 * n))
        wall = 2.0 * self.wall * (np.abs(uv) > 1.0).ravel()
        factors = splu(
            (hessian + sp.diags(wall + 1e-9)).tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        return self.chart.symmetrised(-factors.solve(gradient.ravel()).reshape(n, 2))

    def _hessians(self, uv: np.ndarray) -> Float[np.ndarray, "triangle 4 4"]:
        """Second derivatives of each triangle's energy by the entries of its Jacobian (row-major)."""
        j = _edges(uv, self.chart.triangles) @ self.to_rest
        determinant = np.linalg.det(j)[:, None, None]
        flat = j.reshape(-1, 4)
        norm = (flat**2).sum(axis=1)[:, None, None]
        cofactor = flat[:, [3, 2, 1, 0]] * [1.0, -1.0, -1.0, 1.0]
        of_determinant = np.zeros((4, 4))
        of_determinant[[0, 3], [3, 0]], of_determinant[[1, 2], [2, 1]] = 1.0, -1.0
        mixed = flat[:, :, None] * cofactor[:, None, :]
        out = 2.0 * (1.0 + determinant**-2) * np.eye(4) - 4.0 / determinant**3 * (mixed + mixed.transpose(0, 2, 1))
        out += 6.0 * norm / determinant**4 * cofactor[:, :, None] * cofactor[:, None, :]
        out -= 2.0 * norm / determinant**3 * of_determinant
        return self.weight[:, None, None] * out


def _longest_step(uv: np.ndarray, direction: np.ndarray, triangles: np.ndarray) -> float:
    """Return the first step length at which a triangle degenerates (infinite if none does)."""
    edges, change = _edges(uv, triangles), _edges(direction, triangles)
    # Area along the step: c0 + c1 t + c2 t².
    c0 = _cross(edges[:, :, 0], edges[:, :, 1])
    c1 = _cross(edges[:, :, 0], change[:, :, 1]) + _cross(change[:, :, 0], edges[:, :, 1])
    c2 = _cross(change[:, :, 0], change[:, :, 1])
    discriminant = c1**2 - 4.0 * c2 * c0
    real = discriminant > 0
    root = np.sqrt(discriminant[real])
    with np.errstate(divide="ignore"):
        steps = 2.0 * c0[real] / np.stack([-c1[real] + root, -c1[real] - root])
    steps = steps[steps > 0]
    return float(steps.min()) if steps.size else float("inf")


def _finish(chart: _Chart, uv: np.ndarray, margin: float) -> Atlas:
    """Drop the hubs, scale into the square, turn v down, and round such that the mirror image is exact."""
    kept = np.flatnonzero(chart.source >= 0)
    compact = np.full(len(chart.source), -1)
    compact[kept] = np.arange(len(kept))
    uv, mirror = uv[kept], compact[chart.mirror[kept]]
    triangles = compact[chart.triangles[: chart.n_real]]
    centred = uv - [0.0, 0.5 * (uv[:, 1].min() + uv[:, 1].max())]
    centred *= (0.5 - margin) / np.abs(centred).max()
    u = np.round((0.5 + centred[:, 0]) / GRID) * GRID
    v = np.round((0.5 - centred[:, 1]) / GRID) * GRID
    left = mirror >= np.arange(len(kept))
    u = np.where(left, u, 1.0 - u[mirror])
    u[mirror == np.arange(len(kept))] = 0.5
    v = np.where(left, v, v[mirror])
    rounded = np.stack([u, v], axis=1)
    if (signed_areas(rounded, triangles) >= 0).any():
        raise AtlasError("rounding flipped a triangle of the atlas")
    return Atlas(uv=rounded, triangles=triangles, source=chart.source[kept], mirror=mirror)


def _plane_frames(points: np.ndarray, triangles: np.ndarray) -> Float[np.ndarray, "triangle 2 2"]:
    """The two edges of each triangle (columns) in an orthonormal frame of its plane."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    first, second = b - a, c - a
    length = np.linalg.norm(first, axis=1)
    x_axis = first / length[:, None]
    along = (second * x_axis).sum(axis=1)
    across = np.linalg.norm(second - along[:, None] * x_axis, axis=1)
    return np.stack([np.stack([length, along], axis=1), np.stack([np.zeros_like(length), across], axis=1)], axis=1)


def _edges(uv: np.ndarray, triangles: np.ndarray) -> Float[np.ndarray, "triangle 2 2"]:
    """The two edges of each triangle in the plane, as columns."""
    a, b, c = (uv[triangles[:, corner]] for corner in range(3))
    return np.stack([b - a, c - a], axis=2)


def _areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _smooth_step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
