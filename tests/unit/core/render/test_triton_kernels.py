"""The fused kernels against the torch code that they stand in for, values and gradients, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from facealbedo.core.lighting import sh
from facealbedo.core.render import triton_paths
from facealbedo.core.render.barycentrics import with_gradients
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.rasterize import get_rasterizer, interpreted
from facealbedo.core.render.sampling import sample_bilinear
from facealbedo.core.render.shade import shade
from facealbedo.core.render.synthetic import dome, frontal_camera, icosphere
from facealbedo.core.types import Camera, Fragments

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Where the fused kernels run; the torch code beside them is reached by asking for reproducible gradients."""
    if request.param == "interpreter" and (not interpreted() or torch.cuda.is_available()):
        pytest.skip("Triton does not run in its interpreter here (TRITON_INTERPRET=1)")
    return {"interpreter": "cpu"}.get(request.param, request.param)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def compare(
    device: str,
    fused: Callable[..., torch.Tensor],
    plain: Callable[..., torch.Tensor],
    inputs: Sequence[torch.Tensor],
) -> None:
    """Same values, and the same gradients of a random linear function of them. The plain code runs on the CPU."""
    results = []
    for function, place in ((fused, device), (plain, "cpu")):
        leaves = [value.to(place).requires_grad_() for value in inputs]
        out = function(*leaves)
        (out * random(*out.shape, seed=9).to(place)).nan_to_num(posinf=0).sum().backward()
        gradients = [leaf.grad for leaf in leaves]
        assert all(gradient is not None for gradient in gradients)
        results.append([out.detach().cpu(), *(gradient.cpu() for gradient in gradients if gradient is not None)])
    for ours, theirs in zip(*results, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("tables", [1, 2])
def test_blending_corners(device: str, tables: int) -> None:
    from facealbedo.core.render import triton_kernels

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(-1, 6, (2, 9, 17), generator=generator).int()  # 5 is beyond the table of triangles
    triangles = torch.randint(0, 8, (5, 3), generator=generator)

    def fused(table: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        place = table.device
        blended = triton_kernels.blend_corners(
            table, triangles.to(place), ids.flatten(1).to(place), weights.flatten(1, 2)
        )
        return blended.unflatten(2, (9, 17))

    def plain(table: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return interpolate(Fragments(ids, weights, weights[..., 0]), triangles, table)

    compare(device, fused, plain, [random(tables, 8, 4), random(2, 9, 17, 3, seed=1)])


@pytest.mark.parametrize(("images", "height", "width"), [(1, 5, 6), (2, 4, 9), (2, 1, 5), (1, 7, 1), (2, 1, 1)])
def test_reading_between_texels(device: str, images: int, height: int, width: int) -> None:
    from facealbedo.core.render import triton_kernels

    points = random(2, 20, 9, 2, seed=1) * 4 + 3

    def fused(image: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return triton_kernels.read_bilinear(image, points.flatten(1, 2)).unflatten(2, (20, 9))

    leaves = [random(images, 3, height, width), points]
    if height * width == 1:  # nothing depends on where one texel is read
        values = [function(*leaves) for function in (sample_bilinear,)]
        ours = fused(*(leaf.to(device) for leaf in leaves)).cpu()
        torch.testing.assert_close(ours, values[0], rtol=1e-12, atol=0)
        return
    compare(device, fused, sample_bilinear, leaves)


def test_points_that_are_no_numbers_read_the_first_texel(device: str) -> None:
    from facealbedo.core.render import triton_kernels

    image = random(1, 2, 4, 5).to(device)
    points = torch.tensor([[[float("nan"), 1.5], [2.5, float("nan")], [float("inf"), 0.5], [1e30, -1e30]]]).double()
    leaf = points.to(device).requires_grad_()
    out = triton_kernels.read_bilinear(image, leaf)
    expected = torch.stack([image[0, :, 1, 0], image[0, :, 0, 2], image[0, :, 0, 4], image[0, :, 0, 4]], 1)
    torch.testing.assert_close(out[0], expected)
    out.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("maps", [1, 2])
def test_irradiance_of_light_read_from_a_map(device: str, maps: int) -> None:
    from facealbedo.core.render import triton_kernels

    def fused(light: torch.Tensor, points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        return triton_kernels.illuminate(light, points.flatten(1, 2), normals.flatten(2)).unflatten(2, (7, 19))

    def plain(light: torch.Tensor, points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
        return sh.irradiance_per_texel(sample_bilinear(light, points), normals)

    normals = torch.nn.functional.normalize(random(2, 3, 7, 19, seed=2), dim=1)
    compare(device, fused, plain, [random(maps, 27, 5, 6), random(2, 7, 19, 2, seed=1) * 3 + 3, normals])


def test_gradients_of_weights_and_depth(device: str) -> None:
    from facealbedo.core.render import triton_kernels

    vertices, triangles = icosphere(1)
    view = (vertices.double() * 0.1 - torch.tensor([0.0, 0.003, 0.65])).repeat(2, 1, 1) + random(2, 1, 3) * 0.01
    camera = frontal_camera(2, 24)
    focal, principal = camera.focal_px.double(), camera.principal_px.double() + 0.3
    fragments = get_rasterizer("numba").rasterize(view, triangles, Camera(focal, principal, 24, 24))
    assert fragments.coverage.sum() > 200

    def fused(view: torch.Tensor, focal: torch.Tensor, principal: torch.Tensor) -> torch.Tensor:
        drawn = fragments.to(view.device)
        of_drawn = drawn.barycentrics, drawn.depth, drawn.triangle_id, triangles.to(view.device)
        weights, depth = triton_kernels.attach_gradients(*of_drawn, view, focal, principal, 1e-2)
        return torch.cat([weights, torch.where(drawn.coverage, depth, 0.0)[..., None]], -1)

    def plain(view: torch.Tensor, focal: torch.Tensor, principal: torch.Tensor) -> torch.Tensor:
        exact = with_gradients(fragments, view, triangles, Camera(focal, principal, 24, 24))
        return torch.cat([exact.barycentrics, torch.where(exact.coverage, exact.depth, 0.0)[..., None]], -1)

    # Values differ by the rasteriser's grid (see `barycentrics`), gradients do not.
    torch.testing.assert_close(
        fused(*(leaf.to(device) for leaf in (view, focal, principal))).cpu(),
        plain(view, focal, principal),
        atol=1e-3,
        rtol=0,
    )
    both = []
    for function, place in ((fused, device), (plain, "cpu")):
        leaves = [leaf.detach().to(place).requires_grad_() for leaf in (view, focal, principal)]
        (function(*leaves) * random(2, 24, 24, 4).to(place)).sum().backward()
        both.append([leaf.grad.cpu() for leaf in leaves if leaf.grad is not None])
    assert len(both[0]) == 3
    for ours, theirs in zip(*both, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8 * float(theirs.abs().max()))


def test_the_cpu_and_mixed_precisions_are_left_to_torch() -> None:
    assert triton_paths.fused(torch.zeros(1)) is None
    assert triton_paths.fused(torch.zeros(1), torch.zeros(1, dtype=torch.float64)) is None


@pytest.mark.gpu
def test_reproducible_gradients_are_left_to_torch() -> None:
    tensor = torch.zeros(1, device="cuda")
    assert triton_paths.fused(tensor) is not None
    torch.use_deterministic_algorithms(True)
    try:
        assert triton_paths.fused(tensor) is None
    finally:
        torch.use_deterministic_algorithms(False)


def shaded(device: str, dtype: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The full shade of a dome, and gradients to all that it depends on."""
    surface = dome(24)
    place = {name: getattr(surface, name).to(device) for name in ("triangles", "uv", "uv_triangles", "uv_mirror")}
    surface = type(surface)(surface.vertices.to(device), **place)
    camera = Camera(torch.full((2,), 180.0), torch.full((2, 2), 32.0), 64, 64)
    # Rounded to single precision, so that both precisions see the same triangles.
    leaves = [
        (surface.vertices.cpu().to(dtype) - torch.tensor([0.0, 0.0, 0.6], dtype=dtype)).repeat(2, 1, 1),
        random(2, 3, 40, 40).abs().to(dtype),
        random(2, 27, 8, 8, seed=1).to(dtype),
    ]
    view, albedo, light = (leaf.float().to(device, dtype).requires_grad_() for leaf in leaves)
    camera = Camera(camera.focal_px.to(device, dtype), camera.principal_px.to(device, dtype), 64, 64)
    _, buffer = render_gbuffer(surface, view, camera)
    image = shade(buffer, albedo, uv_illumination=light)
    (image * random(2, 3, 64, 64, seed=5).to(device, dtype)).sum().backward()
    return image.detach().cpu(), [leaf.grad.cpu() for leaf in (view, albedo, light) if leaf.grad is not None]


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 2e-3)])
def test_the_whole_shade_equals_that_of_the_cpu(dtype: torch.dtype, tolerance: float) -> None:
    (ours, our_gradients), (theirs, their_gradients) = shaded("cuda", dtype), shaded("cpu", torch.float64)
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=1e-3)
    for our, their in zip(our_gradients, their_gradients, strict=True):
        assert float((our.double() - their).norm() / their.norm()) < tolerance


@pytest.mark.gpu
def test_two_runs_give_the_same_gradients_when_asked() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        (first, first_gradients), (second, second_gradients) = (shaded("cuda", torch.float32) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    for one, other in zip(first_gradients, second_gradients, strict=True):
        assert torch.equal(one, other)
