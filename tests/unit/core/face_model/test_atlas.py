"""The atlas as it ships, and the derivatives that its optimisation rests on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from facealbedo.core.face_model.atlas import (
    Atlas,
    AtlasConfig,
    AtlasError,
    _Dirichlet,
    make_atlas,
    signed_areas,
    target_density,
    texels_per_mm,
)
from facealbedo.core.face_model.model import FaceModel

RESOLUTION = 1024


@pytest.fixture(scope="module")
def atlas(face_model: FaceModel) -> Atlas:
    return Atlas(
        uv=face_model.uv.double().numpy(),
        triangles=face_model.uv_triangles.numpy(),
        source=face_model.uv_source.numpy(),
        mirror=face_model.uv_mirror.numpy(),
    )


def count_covers(atlas: Atlas, resolution: int) -> np.ndarray:
    """How many triangles strictly contain each texel's centre; plain loops, one triangle at a time."""
    count = np.zeros((resolution, resolution), dtype=np.int32)
    corners = atlas.uv[atlas.triangles] * resolution - 0.5
    low = np.maximum(np.ceil(corners.min(axis=1)).astype(int), 0)
    high = np.minimum(np.floor(corners.max(axis=1)).astype(int), resolution - 1)
    for (a, b, c), (x0, y0), (x1, y1) in zip(corners, low, high, strict=True):
        if x1 < x0 or y1 < y0:
            continue
        x, y = np.meshgrid(np.arange(x0, x1 + 1), np.arange(y0, y1 + 1))
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        # v points down: a triangle that looks outward is clockwise here.
        count[y0 : y1 + 1, x0 : x1 + 1] += (sides[0] < 0) & (sides[1] < 0) & (sides[2] < 0)
    return count


def test_no_triangle_is_flipped_or_flat(atlas: Atlas) -> None:
    areas = -signed_areas(atlas.uv, atlas.triangles)
    assert areas.min() > 0
    assert areas.min() * 4096**2 > 1e-3


def test_no_texel_is_covered_twice_and_all_areas_add_up(atlas: Atlas) -> None:
    count = count_covers(atlas, RESOLUTION)
    assert count.max() == 1
    total = float(-signed_areas(atlas.uv, atlas.triangles).sum())
    # Centres on an edge are counted by neither side: a few among a million.
    assert count.mean() == pytest.approx(total, abs=5e-4)
    assert total > 0.8


def test_border_stays_clear_of_the_square_s_rim(atlas: Atlas) -> None:
    assert atlas.uv.min() >= 0.0075
    assert atlas.uv.max() <= 1 - 0.0075


def test_mirror_image_is_exact_in_float32(face_model: FaceModel) -> None:
    mirrored = face_model.uv[face_model.uv_mirror]
    assert torch.equal(1 - face_model.uv[:, 0], mirrored[:, 0])
    assert torch.equal(face_model.uv[:, 1], mirrored[:, 1])
    flipped = face_model.uv_mirror[face_model.uv_triangles].sort(dim=1).values
    rows = {tuple(row) for row in face_model.uv_triangles.sort(dim=1).values.tolist()}
    assert all(tuple(row) in rows for row in flipped.tolist())
    left = face_model.mean[face_model.uv_source, 0] > 1e-3
    assert (face_model.uv[left, 0] > 0.5).all(), "the subject's left lies at the image's right"


def test_atlas_triangles_are_the_mesh_s_skin_triangles(face_model: FaceModel) -> None:
    corners = face_model.uv_source[face_model.uv_triangles]
    assert torch.equal(corners, face_model.triangles[: face_model.n_atlas_triangles])
    used = torch.bincount(face_model.uv_triangles.flatten(), minlength=len(face_model.uv))
    assert (used > 0).all()
    doubled = torch.bincount(face_model.uv_source)
    seam = torch.nonzero(doubled > 1)[:, 0]
    assert doubled.max() == 2
    # From the nape over the crown are about 0.25 m, and edges there are 4 to 10 mm long.
    assert 25 < len(seam) < 65
    assert face_model.mean[seam, 0].abs().max() < 1e-6, "the seam runs along the mid-line"
    assert face_model.mean[seam, 2].max() < -0.1, "at the back"


def test_texel_density_on_the_face(face_model: FaceModel, atlas: Atlas) -> None:
    density = texels_per_mm(atlas, face_model.mean.double().numpy(), 1024)
    face = face_model.region("face").numpy()[atlas.triangles].min(axis=1) > 0.9
    assert np.median(density[face]) > 3.3
    assert np.percentile(density[face], 5) > 2.5
    # Nowhere does a texel of a 1024 map span more than 3 mm, not even at the seam's ends behind.
    assert density.min() > 1 / 3


def test_texel_density_of_a_known_square() -> None:
    square = Atlas(
        uv=np.array([[0.0, 0.0], [0.5, 0.0], [0.5, 0.5], [0.0, 0.5]]),
        triangles=np.array([[0, 1, 2], [0, 2, 3]]),
        source=np.arange(4),
        mirror=np.array([1, 0, 3, 2]),
    )
    points = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]])
    np.testing.assert_allclose(texels_per_mm(square, points, 1000), 5.0)


def cap(rings: int = 7, sectors: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A head-sized ball, open below and with a mouth, mirror-symmetric, its back's mid-line made of edges."""
    polar = np.linspace(0, np.radians(150), rings + 1)[1:, None]
    azimuth = 2 * np.pi * np.arange(sectors) / sectors
    x, z = np.sin(polar) * np.sin(azimuth), np.sin(polar) * np.cos(azimuth)
    ring = np.stack([x, np.broadcast_to(np.cos(polar), x.shape), z], axis=-1).reshape(-1, 3)
    points = np.concatenate([[[0.0, 1.0, 0.0]], ring]) * 0.1 + [0.0, -0.03, -0.06]
    points[np.abs(points[:, 0]) < 1e-12, 0] = 0.0
    triangles = [[0, 1 + s, 1 + (s + 1) % sectors] for s in range(sectors)]
    for r in range(rings - 1):
        for s in range(sectors):
            a, b = 1 + r * sectors + s, 1 + r * sectors + (s + 1) % sectors
            c, d = a + sectors, b + sectors
            # Diagonals fall away from the plane x = 0 on both sides.
            triangles += [[a, c, d], [a, d, b]] if s < sectors // 2 else [[a, c, b], [b, c, d]]
    mouth = 1 + 3 * sectors
    triangles = [corners for corners in triangles if mouth not in corners]
    mirror = np.concatenate([[0], (1 + np.arange(rings)[:, None] * sectors + (-np.arange(sectors)) % sectors).ravel()])
    return points, np.array(triangles), mirror


def test_makes_a_valid_atlas_of_another_shape() -> None:
    points, triangles, mirror = cap()
    atlas = make_atlas(points, triangles, mirror, AtlasConfig(seam_top=-0.07))
    assert (signed_areas(atlas.uv, atlas.triangles) < 0).all()
    np.testing.assert_array_equal(atlas.uv[atlas.mirror], atlas.uv * [-1, 1] + [1, 0])
    np.testing.assert_array_equal(atlas.source[atlas.triangles], triangles)
    assert count_covers(atlas, 256).max() == 1
    assert np.abs(atlas.uv - 0.5).max() == pytest.approx(0.492, abs=1e-5)


def test_says_when_it_does_not_settle() -> None:
    points, triangles, mirror = cap()
    with pytest.raises(AtlasError, match="did not settle in 1 steps"):
        make_atlas(points, triangles, mirror, AtlasConfig(seam_top=-0.07, n_descents=1))


def problem() -> tuple[_Dirichlet, np.ndarray]:
    from facealbedo.core.face_model.atlas import _cut_open, _equalised_tutte, _fill_holes

    points, triangles, mirror = cap()
    config = AtlasConfig(seam_top=-0.07)
    chart = _cut_open(*_fill_holes(points, triangles, mirror), n_real=len(triangles), seam_top=config.seam_top)
    density = target_density(chart.points, 0.16)[chart.triangles].mean(axis=1)
    uv = _equalised_tutte(chart, density, config)
    # Off the mirror-symmetric state, partly outside the wall.
    uv = 1.02 * uv + 1e-4 * np.random.default_rng(0).normal(size=uv.shape)
    return _Dirichlet.of(chart, uv, density, config.fill), uv


def test_gradient_is_the_energy_s_derivative() -> None:
    dirichlet, uv = problem()
    gradient = dirichlet.gradient(uv)
    for seed in range(3):
        direction = dirichlet.chart.symmetrised(np.random.default_rng(seed).normal(size=uv.shape))
        step = 1e-7
        slope = (dirichlet.energy(uv + step * direction) - dirichlet.energy(uv - step * direction)) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-4)


def test_hessian_is_the_gradient_s_derivative() -> None:
    """One triangle: the 4 x 4 Hessian by the Jacobian against torch's automatic differentiation."""
    dirichlet, uv = problem()
    ours = dirichlet._hessians(uv)
    triangles = dirichlet.chart.triangles
    corners = uv[triangles]
    edges = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=2)
    jacobians = torch.from_numpy(edges @ dirichlet.to_rest)

    def energy(flat: torch.Tensor) -> torch.Tensor:
        return flat.square().sum() * (1 + (flat[0] * flat[3] - flat[1] * flat[2]) ** -2)

    for index in (0, 17, len(triangles) - 1):
        expected = torch.autograd.functional.hessian(energy, jacobians[index].reshape(4)).numpy()
        np.testing.assert_allclose(ours[index], dirichlet.weight[index] * expected, rtol=1e-9)


def test_flipped_layouts_have_infinite_energy() -> None:
    dirichlet, uv = problem()
    assert np.isfinite(dirichlet.energy(uv))
    assert dirichlet.energy(uv * [-1, 1]) == np.inf


def test_atlas_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Atlas(np.zeros((0, 2)), np.zeros((0, 3), int), np.zeros(0, int), np.zeros(0, int)).uv = None  # type: ignore[misc]
