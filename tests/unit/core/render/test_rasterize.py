from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from facealbedo.core.geometry.projection import project
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.render.synthetic import dome, frontal_camera, icosphere
from facealbedo.core.types import Camera


def pixel_camera(height: int, width: int, batch: int = 1) -> Camera:
    """A camera for which a vertex (x, -y, -1) lies at pixel (x, y)."""
    return Camera(torch.ones(batch), torch.zeros(batch, 2), height, width)


def at_pixels(points: torch.Tensor, depth: float = 1.0) -> torch.Tensor:
    """View-frame vertices that `pixel_camera` sees at these pixels."""
    x, y = points.double().unbind(-1)
    return torch.stack([x * depth, -y * depth, torch.full_like(x, -depth)], dim=-1)[None]


def posed(vertices: torch.Tensor, batch: int, seed: int = 0) -> torch.Tensor:
    """Copies of a mesh of 0.1 m, turned and moved before a camera 0.65 m away."""
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(batch, 3, 3, generator=generator, dtype=torch.float64))[0].to(vertices.dtype)
    shift = torch.randn(batch, 1, 3, generator=generator).to(vertices.dtype) * 0.01
    return vertices @ turned + shift + vertices.new_tensor([0, 0, -0.65])


def ray_cast(vertices: np.ndarray, triangles: np.ndarray, camera: Camera) -> tuple[np.ndarray, ...]:
    """Independent truth: intersect every pixel's ray with every triangle's plane in 3D, float64."""
    focal, (cx, cy) = float(camera.focal_px[0]), camera.principal_px[0].tolist()
    y, x = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    rays = np.stack([(x - cx) / focal, -(y - cy) / focal, -np.ones_like(x)], -1).reshape(-1, 3)
    corners = vertices[triangles].transpose(0, 2, 1)  # columns are vertices
    solved = np.einsum("tij,pj->pti", np.linalg.inv(corners), rays)  # ray * distance = corners @ weights
    inside = (solved >= 0).all(-1)
    distance = np.where(inside, 1 / solved.sum(-1), np.inf)
    nearest = distance.argmin(1)
    hit = np.isfinite(distance.min(1))
    weights = np.take_along_axis(solved, nearest[:, None, None], 1)[:, 0]
    shape = (camera.height, camera.width)
    return (
        np.where(hit, nearest, -1).reshape(shape),
        np.where(hit[:, None], weights / weights.sum(-1, keepdims=True), 0).reshape(*shape, 3),
        distance.min(1).reshape(shape),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_ray_casting(dtype: torch.dtype) -> None:
    vertices, triangles = icosphere(2)
    camera = frontal_camera(1, 64)
    view = posed(vertices.to(dtype) * 0.1, 1)
    fragments = get_rasterizer().rasterize(view, triangles, camera)
    ids, weights, depth = ray_cast(view[0].double().numpy(), triangles.numpy(), camera)
    assert fragments.triangle_id.dtype == torch.int32
    assert fragments.barycentrics.dtype == fragments.depth.dtype == dtype
    same = fragments.triangle_id[0].numpy() == ids
    assert same.mean() > 0.9995
    assert 1000 < (ids >= 0).sum() < 4000
    np.testing.assert_allclose(fragments.barycentrics[0].numpy()[same], weights[same], atol=2e-5)
    np.testing.assert_allclose(fragments.depth[0].numpy()[same], depth[same], atol=1e-6)
    uncovered = ~fragments.coverage
    assert (fragments.barycentrics[uncovered] == 0).all()
    assert torch.isinf(fragments.depth[uncovered]).all()


def test_weights_lie_in_the_triangle_and_reproduce_the_pixel() -> None:
    vertices, triangles = icosphere(4)
    view, camera = posed(vertices * 0.1, 2), frontal_camera(2, 128)
    fragments = get_rasterizer().rasterize(view, triangles, camera)
    covered = fragments.coverage
    weights = fragments.barycentrics
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1)[covered], torch.ones(int(covered.sum())), atol=1e-6, rtol=0)
    corners = torch.stack([view[b][triangles[fragments.triangle_id[b].clamp(min=0).long()]] for b in range(2)])
    points = (corners * weights[..., None]).sum(-2)
    seen_at = project(points.reshape(2, -1, 3), camera).reshape(2, 128, 128, 2)
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    centre = torch.stack([x, y], -1).expand(2, -1, -1, -1)
    torch.testing.assert_close(seen_at[covered], centre[covered], atol=2e-4, rtol=0)
    torch.testing.assert_close(-points[..., 2][covered], fragments.depth[covered], atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_no_cracks_and_no_double_cover(seed: int) -> None:
    # A random triangulation of a rectangle, with many vertices exactly on pixel centres and on rows of them, so that
    # ties are everywhere; then each triangle alone: every pixel in the rectangle must be drawn exactly once.
    from scipy.spatial import Delaunay

    rng = np.random.default_rng(seed)
    inner = rng.uniform(2, 30, (40, 2))
    inner[:20] = np.floor(inner[:20]) + 0.5
    inner[20:30, 1] = np.floor(inner[20:30, 1]) + 0.5
    corners = np.array([[1.5, 1.5], [30.5, 1.5], [1.5, 30.5], [30.5, 30.5]])
    points = np.unique(np.concatenate([corners, inner]), axis=0)
    triangles = Delaunay(points).simplices.astype(np.int64)
    flipped = rng.random(len(triangles)) < 0.5  # winding must not matter
    triangles[flipped] = triangles[flipped][:, ::-1]
    camera = pixel_camera(32, 32)
    view = at_pixels(torch.from_numpy(points))
    count = np.zeros((32, 32), int)
    for triangle in triangles:
        alone = get_rasterizer().rasterize(view, torch.from_numpy(triangle[None].copy()), camera)
        count += alone.coverage[0].numpy()
    expected = np.zeros((32, 32), int)
    expected[1:30, 1:30] = 1  # top and left border are in, right and bottom are not
    np.testing.assert_array_equal(count, expected)
    together = get_rasterizer().rasterize(view, torch.from_numpy(triangles), camera)
    np.testing.assert_array_equal(together.coverage[0].numpy(), expected == 1)


def test_nearest_wins_and_equal_depth_goes_to_the_lower_index() -> None:
    square = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    far, near = at_pixels(square, 2.0), at_pixels(square, 1.0)
    view = torch.cat([far, near, near], dim=1)
    camera = pixel_camera(4, 4)
    triangles = torch.arange(9).reshape(3, 3)
    assert (get_rasterizer().rasterize(view, triangles, camera).triangle_id == 1).all()
    order = torch.tensor([2, 0, 1])
    assert (get_rasterizer().rasterize(view, triangles[order], camera).triangle_id == 0).all()


def test_depth_is_perspective_correct() -> None:
    # A plane tilted along x: at the middle of the image of an edge from depth 1 to depth 3, depth is 1.5, not 2.
    points = torch.tensor([[0.0, -100.0, -1.0], [0.0, 100.0, -1.0], [3 * 16.0, -300.0, -3.0], [3 * 16.0, 300.0, -3.0]])
    triangles = torch.tensor([[0, 2, 1], [1, 2, 3]])
    camera = pixel_camera(1, 17)
    fragments = get_rasterizer().rasterize(points[None].double(), triangles, dataclasses.replace(camera, width=16))
    x = torch.arange(16, dtype=torch.float64) + 0.5
    torch.testing.assert_close(fragments.depth[0, 0], 1 / (1 - x / 16 * (1 - 1 / 3)), atol=1e-6, rtol=0)


def test_two_runs_and_any_number_of_threads_give_the_same_bytes() -> None:
    vertices, triangles = icosphere(4)
    view, camera = posed(vertices * 0.1, 3), frontal_camera(3, 96)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 2, 5):
            torch.set_num_threads(threads)
            results.append(get_rasterizer().rasterize(view, triangles, camera))
    finally:
        torch.set_num_threads(before)
    single = get_rasterizer().rasterize(view[1:2], triangles, camera[1:2])
    for other in results[1:]:
        for name in ("triangle_id", "barycentrics", "depth"):
            assert torch.equal(getattr(other, name), getattr(results[0], name))
    assert torch.equal(single.triangle_id[0], results[0].triangle_id[1])


def test_what_cannot_be_drawn_is_dropped_and_the_rest_is_not() -> None:
    good = at_pixels(torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])).float()
    nan = good.clone()
    nan[0, 1, 0] = float("nan")
    infinite = good.clone()
    infinite[0, 2, 1] = float("inf")
    behind = good * torch.tensor([1.0, 1.0, -1.0])
    across = good.clone()
    across[0, 0, 2] = 0.5
    in_the_lens = good * 1e-5
    line = at_pixels(torch.tensor([[0.0, 0.0], [4.0, 4.0], [8.0, 8.0]])).float()
    point = at_pixels(torch.tensor([[2.5, 2.5]] * 3)).float()
    off_screen = at_pixels(torch.tensor([[-9.0, 0.0], [-8.0, 0.0], [-9.0, 8.0]])).float()
    far_off = at_pixels(torch.tensor([[-1e9, 0.0], [1e9, 0.0], [0.0, 1e9]])).float()
    camera = pixel_camera(8, 8)
    rasterizer = get_rasterizer()
    triangle = torch.tensor([[0, 1, 2]])
    alone = rasterizer.rasterize(good, triangle, camera)
    assert alone.coverage.sum() == 28  # pixels with column + row < 7; those on the right edge are not in
    bad = [nan, infinite, behind, across, in_the_lens, line, point, off_screen, far_off]
    for mesh in bad:
        assert not rasterizer.rasterize(mesh, triangle, camera).coverage.any()
    together = torch.cat([*bad, good], dim=1)
    all_of_them = rasterizer.rasterize(together, torch.arange(3 * len(bad) + 3).reshape(-1, 3), camera)
    assert torch.equal(all_of_them.coverage, alone.coverage)
    assert torch.equal(all_of_them.depth, alone.depth)


@pytest.mark.parametrize(("batch", "n_triangles"), [(0, 1), (2, 0), (0, 0)])
def test_nothing_to_draw(batch: int, n_triangles: int) -> None:
    fragments = get_rasterizer().rasterize(
        torch.zeros(batch, 3, 3), torch.tensor([[0, 1, 2]])[:n_triangles], pixel_camera(4, 5, batch)
    )
    assert fragments.triangle_id.shape == (batch, 4, 5)
    assert not fragments.coverage.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_drawn_in_single(dtype: torch.dtype) -> None:
    vertices, triangles = icosphere(1)
    view, camera = posed(vertices * 0.1, 1).to(dtype), frontal_camera(1, 32)
    half, single = (get_rasterizer().rasterize(mesh, triangles, camera) for mesh in (view, view.float()))
    assert half.depth.dtype == torch.float32
    assert torch.equal(half.triangle_id, single.triangle_id)


def test_image_that_is_not_square_and_odd_principal_point() -> None:
    vertices, triangles = icosphere(1)
    view = posed(vertices * 0.1, 1)
    camera = Camera(torch.tensor([100.0]), torch.tensor([[50.3, -3.7]]), 21, 67)
    fragments = get_rasterizer().rasterize(view, triangles, camera)
    ids, _, _ = ray_cast(view[0].double().numpy(), triangles.numpy(), camera)
    assert fragments.coverage.any()
    assert (fragments.triangle_id[0].numpy() == ids).mean() > 0.999


def test_wrong_input_is_named() -> None:
    rasterizer = get_rasterizer()
    view, triangle = torch.zeros(2, 3, 3), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="2 meshes but 1 cameras"):
        rasterizer.rasterize(view, triangle, pixel_camera(4, 4))
    with pytest.raises(IndexError, match="only 3"):
        rasterizer.rasterize(view, triangle + 1, pixel_camera(4, 4, 2))
    with pytest.raises(IndexError, match="-1"):
        rasterizer.rasterize(view, triangle - 1, pixel_camera(4, 4, 2))
    with pytest.raises(ValueError, match="at least one pixel"):
        rasterizer.rasterize(view, triangle, pixel_camera(0, 4, 2))
    with pytest.raises(ValueError, match="no rasteriser"):
        get_rasterizer("numba", "cuda")


def test_auto_says_which() -> None:
    assert get_rasterizer("auto", "cpu").name == "numba"


def test_gradients_of_weights_and_depth_equal_finite_differences() -> None:
    surface = dome(4)
    camera = frontal_camera(1, 12)
    view = (surface.vertices.double() + torch.tensor([0.003, 0.002, -0.5], dtype=torch.float64))[None]
    focal, principal = camera.focal_px.double(), camera.principal_px.double() + 0.137
    rasterizer = get_rasterizer()
    reference = rasterizer.rasterize(view, surface.triangles, Camera(focal, principal, 12, 12))
    assert 20 < reference.coverage.sum() < 144

    def weights_and_depth(
        vertices: torch.Tensor, focal: torch.Tensor, principal: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        fragments = rasterizer.rasterize(vertices, surface.triangles, Camera(focal, principal, 12, 12))
        assert torch.equal(fragments.triangle_id, reference.triangle_id)
        return fragments.barycentrics, torch.where(fragments.coverage, fragments.depth, 0.0)

    inputs = tuple(value.clone().requires_grad_() for value in (view, focal, principal))
    assert torch.autograd.gradcheck(weights_and_depth, inputs, eps=1e-7, atol=1e-4)


def test_gradients_ignore_what_is_not_drawn() -> None:
    good = at_pixels(torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])).float()
    bad = good.clone()
    bad[0, 1] = float("nan")
    view = torch.cat([good, bad, -good], dim=1).requires_grad_()
    fragments = get_rasterizer().rasterize(view, torch.arange(9).reshape(3, 3), pixel_camera(8, 8))
    (fragments.barycentrics[..., 0].sum() + fragments.depth[fragments.coverage].sum()).backward()
    assert view.grad is not None
    assert view.grad.isfinite().all()
    assert (view.grad[0, 3:] == 0).all()
    assert (view.grad[0, :3] != 0).any()
