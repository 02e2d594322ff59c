"""The Triton backend against the numba backend: the same triangles, weights and depths, on a GPU or interpreted."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch

from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.render.rasterize import Rasterizer, get_rasterizer, interpreted
from facealbedo.core.render.synthetic import frontal_camera, icosphere
from facealbedo.core.types import Camera, Fragments

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda":
        return "cuda"
    if not interpreted() or torch.cuda.is_available():
        pytest.skip("Triton does not run in its interpreter here (TRITON_INTERPRET=1)")
    return "cpu"


def make(device: str, **options: int) -> Rasterizer:
    """Interpreted programs are slow, so they take many triangles and pixels each."""
    from facealbedo.core.render.raster_triton import TritonRasterizer

    wide = {} if device == "cuda" else {"triangles_a_program": 512, "pixels_a_program": 4096}
    return Rasterizer(TritonRasterizer(**(wide | options)))


def draw(device: str, view: torch.Tensor, triangles: torch.Tensor, camera: Camera, **options: int) -> Fragments:
    fragments = make(device, **options).rasterize(view.to(device), triangles.to(device), camera.to(device))
    return fragments.to("cpu")


def assert_same(ours: Fragments, theirs: Fragments) -> None:
    assert torch.equal(ours.triangle_id, theirs.triangle_id)
    # The backends do the same operations in the same order; dividing may round differently in the last place.
    torch.testing.assert_close(ours.barycentrics, theirs.barycentrics, atol=1e-7, rtol=0)
    torch.testing.assert_close(ours.depth, theirs.depth, atol=1e-7, rtol=1e-7)
    assert ours.depth.dtype == theirs.depth.dtype


def head(level: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, triangles = icosphere(level)
    angles = torch.linspace(-40, 30, batch)
    turned = (vertices * torch.tensor([0.08, 0.1, 0.09])) @ euler_degrees_to_matrix(angles, angles / 2, angles)
    return turned - torch.tensor([0.0, 0.0, 0.65]), triangles


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("height", "width"), [(40, 40), (21, 67)])
def test_equals_numba(device: str, height: int, width: int, dtype: torch.dtype) -> None:
    view, triangles = head(2, 2)
    principal = torch.tensor([[width / 2 + 3.3, height / 2], [30.2, 10.7]])
    camera = Camera(torch.tensor([100.0, 90.0]), principal, height, width)
    theirs = get_rasterizer("numba").rasterize(view.to(dtype), triangles, camera)
    assert theirs.coverage.sum() > 500
    assert_same(draw(device, view.to(dtype), triangles, camera), theirs)


@pytest.mark.parametrize("large", [0, 20, 100000])
def test_large_triangles_equal_numba_however_they_are_drawn(device: str, large: int) -> None:
    # 20 triangles over most of 64 x 48 pixels; by one thread, by the warp, and mixed; over several bands of rows too.
    view, triangles = head(0, 1)
    camera = Camera(torch.tensor([220.0]), torch.tensor([[30.0, 25.0]]), 48, 64)
    theirs = get_rasterizer("numba").rasterize(view, triangles, camera)
    assert theirs.coverage.sum() > 1500
    assert_same(draw(device, view, triangles, camera, large=large, triangles_a_program=32), theirs)


def test_rows_of_a_large_triangle_are_shared(device: str) -> None:
    # Two triangles and 160 x 160 pixels make three bands of rows; the camera's corner is the triangle's.
    view = torch.tensor([[[-1.0, 1.0, -1.0], [3.0, 1.0, -1.0], [-1.0, -3.0, -1.0], [0.0, 0.1, -0.9]]])
    triangles = torch.tensor([[0, 1, 2], [0, 1, 3]])
    camera = Camera(torch.tensor([80.0]), torch.tensor([[80.0, 80.0]]), 160, 160)
    theirs = get_rasterizer("numba").rasterize(view, triangles, camera)
    assert theirs.coverage.all()
    assert 1000 < (theirs.triangle_id == 1).sum() < 20000
    assert_same(draw(device, view, triangles, camera, triangles_a_program=256), theirs)


def test_random_soup_with_ties_equals_numba(device: str) -> None:
    # Vertices on pixel centres and rows of them, triangles drawn twice, both windings, all at a few depths.
    generator = torch.Generator().manual_seed(3)
    points = torch.randint(0, 48, (60, 2), generator=generator) / 2.0
    depth = 1 + torch.randint(0, 3, (60, 1), generator=generator) / 4.0
    view = torch.cat([points[:, :1] * depth, -points[:, 1:] * depth, -depth], 1)[None]
    triangles = torch.randint(0, 60, (150, 3), generator=generator)
    triangles = torch.cat([triangles, triangles.flip(1)])
    camera = Camera(torch.ones(1), torch.zeros(1, 2), 24, 24)
    theirs = get_rasterizer("numba").rasterize(view, triangles, camera)
    assert theirs.triangle_id.unique().numel() > 20
    assert_same(draw(device, view, triangles, camera), theirs)


def test_what_cannot_be_drawn_is_dropped_as_in_numba(device: str) -> None:
    view, triangles = head(1, 2)
    view[0, 0, 0] = float("nan")
    view[0, 1, 1] = float("inf")
    view[0, 2, 2] = -float("inf")
    view[0, 3, 2] = 0.3  # behind the camera
    view[0, 4, 2] = -1e-4  # too near
    view[0, 5, 0] = 1e9  # beyond the guard
    view[1, :, 0] += 10  # all off screen
    triangles[7] = triangles[7, 0]  # a point
    camera = frontal_camera(2, 32)
    theirs = get_rasterizer("numba").rasterize(view, triangles, camera)
    assert theirs.coverage[0].any()
    assert not theirs.coverage[1].any()
    assert_same(draw(device, view, triangles, camera), theirs)


@pytest.mark.parametrize(("batch", "n_triangles"), [(0, 1), (2, 0)])
def test_nothing_to_draw(device: str, batch: int, n_triangles: int) -> None:
    view, triangles = torch.zeros(batch, 3, 3), torch.tensor([[0, 1, 2]])[:n_triangles]
    fragments = draw(device, view, triangles, frontal_camera(batch, 5))
    assert fragments.depth.shape == (batch, 5, 5)
    assert not fragments.coverage.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_drawn_in_single(device: str, dtype: torch.dtype) -> None:
    view, triangles = head(1, 1)
    camera = frontal_camera(1, 24)
    theirs = get_rasterizer("numba").rasterize(view.to(dtype).float(), triangles, camera)
    assert_same(draw(device, view.to(dtype), triangles, camera), theirs)


def test_triangles_without_vertices_are_not_drawn() -> None:
    # Looking would make a CUDA device wait; on the CPU the rasteriser raises before the backend sees them.
    pytest.importorskip("triton")
    if not torch.cuda.is_available() and not interpreted():
        pytest.skip("Triton does not run here")
    from facealbedo.core.render.raster_triton import TritonRasterizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    view, triangles = head(1, 1)
    camera = frontal_camera(1, 24)
    wrong = triangles.clone()
    wrong[3, 1], wrong[5, 2] = view.shape[1], -1
    spoiled = TritonRasterizer(512, 4096).draw(view.to(device), wrong.to(device), camera.to(device)).to("cpu")
    dropped = triangles.clone()
    dropped[3], dropped[5] = 0, 0
    assert_same(spoiled, get_rasterizer("numba").rasterize(view, dropped, camera))


def test_gradients_equal_those_of_the_other_backend(device: str) -> None:
    view, triangles = head(1, 2)
    camera = frontal_camera(2, 24)
    gradients = []
    for rasterizer, place in ((make(device), device), (get_rasterizer("numba"), "cpu")):
        leaf = view.to(place).requires_grad_()
        focal = camera.focal_px.to(place).requires_grad_()
        posed = dataclasses.replace(camera.to(place), focal_px=focal)
        fragments = rasterizer.rasterize(leaf, triangles.to(place), posed)
        weights = torch.linspace(-1, 1, fragments.barycentrics.numel(), device=place).reshape(2, 24, 24, 3)
        loss = (fragments.barycentrics * weights).sum() + fragments.depth[fragments.coverage].sum()
        loss.backward()
        assert leaf.grad is not None
        assert focal.grad is not None
        gradients.append((leaf.grad.cpu(), focal.grad.cpu()))
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize(("level", "size", "batch"), [(5, 256, 8), (5, 512, 4), (4, 1024, 2), (1, 1024, 2)])
def test_equals_numba_at_full_size(level: int, size: int, batch: int) -> None:
    view, triangles = head(level, batch)
    camera = frontal_camera(batch, size)
    assert_same(draw("cuda", view, triangles, camera), get_rasterizer("numba").rasterize(view, triangles, camera))


@pytest.mark.gpu
def test_two_runs_give_the_same_bytes() -> None:
    view, triangles = head(5, 16)
    view[8:] = view[8:].flip(1)  # triangles across the whole sphere: much overlap
    first, second = (draw("cuda", view, triangles, frontal_camera(16, 256)) for _ in range(2))
    for name in ("triangle_id", "barycentrics", "depth"):
        assert torch.equal(getattr(first, name), getattr(second, name))


@pytest.mark.gpu
def test_automatic_choice_on_cuda() -> None:
    assert get_rasterizer("auto", "cuda").name == "triton"


def test_without_triton_the_choice_is_pytorch3d_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pytorch3d", reason="pytorch3d is not installed")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert get_rasterizer("auto", "cuda").name == "pytorch3d"
    assert "Triton is not installed" in caplog.text
