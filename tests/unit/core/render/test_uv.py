from __future__ import annotations

import math

import pytest
import torch

from facealbedo.core.geometry.normals import vertex_normals
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.render import uv
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.render.synthetic import Dome, dome, frontal_camera
from facealbedo.core.types import Camera

DISTANCE = 0.7


def posed(surface: Dome, yaw: float = 0.0, pitch: float = 0.0, distance: float = DISTANCE) -> torch.Tensor:
    angles = (torch.tensor([value]) for value in (yaw, pitch, 0.0))
    return surface.vertices @ euler_degrees_to_matrix(*angles).transpose(1, 2) - torch.tensor([0, 0, distance])


def colour_at(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """A smooth texture in closed form, [..., 3]."""
    return torch.stack(
        [0.5 + 0.4 * torch.sin(9 * u), 0.5 + 0.4 * torch.cos(7 * v), 0.5 + 0.4 * torch.sin(6 * u + 5 * v)], -1
    )


def texel_centres(resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    steps = (torch.arange(resolution) + 0.5) / resolution
    return torch.meshgrid(steps, steps, indexing="xy")


def photo_of(surface: Dome, view: torch.Tensor, camera: Camera) -> torch.Tensor:
    """The dome with its texture evaluated at every pixel (no map in between); background magenta."""
    _, buffer = render_gbuffer(surface, view, camera)
    colour = colour_at(buffer.uv[:, 0], buffer.uv[:, 1]).permute(0, 3, 1, 2)
    return torch.where(buffer.coverage, colour, torch.tensor([9.0, 0.0, 9.0]).view(1, 3, 1, 1))


@pytest.mark.parametrize("resolution", [2, 64, 254, 512, pytest.param(4096, marks=pytest.mark.slow)])
def test_texels_know_their_place(resolution: int) -> None:
    surface = dome(16)
    texels = uv.atlas_texels(surface, resolution)
    baked = uv.bake_uv_vertices(surface, surface.uv[None], resolution)[0]
    u, v = texel_centres(resolution)
    assert torch.equal(texels.mask, ((u - 0.5).abs() < 0.45) & ((v - 0.5).abs() < 0.45))
    torch.testing.assert_close(baked[0][texels.mask], u[texels.mask], atol=1e-6, rtol=0)
    torch.testing.assert_close(baked[1][texels.mask], v[texels.mask], atol=1e-6, rtol=0)
    assert (baked[:, ~texels.mask] == 0).all()


def test_mask_and_texels_are_exactly_symmetric() -> None:
    # 200 texels and 20 cells over 90 % of the atlas: texel centres lie exactly on edges.
    surface = dome(20)
    texels = uv.atlas_texels(surface, 200)
    assert torch.equal(texels.mask, texels.mask.flip(1))
    values = torch.randn(1, len(surface.vertices), 2, generator=torch.Generator().manual_seed(0))
    baked = uv.bake_vertices(surface, values, 200)
    mirrored = uv.bake_vertices(surface, values[:, surface.uv_mirror], 200)
    torch.testing.assert_close(uv.mirror_uv(baked), mirrored, atol=1e-6, rtol=0)


def test_texels_are_remembered_per_model() -> None:
    first, second = dome(4), dome(4)
    assert uv.atlas_texels(first, 32) is uv.atlas_texels(first, 32)
    assert uv.atlas_texels(first, 32) is not uv.atlas_texels(second, 32)


def test_odd_resolution_and_crooked_atlas_are_refused() -> None:
    with pytest.raises(ValueError, match="33"):
        uv.atlas_texels(dome(4), 33)
    surface = dome(4)
    crooked = Dome(surface.vertices, surface.triangles, surface.uv, surface.uv_triangles, surface.uv_mirror.flip(0))
    with pytest.raises(ValueError, match="symmetric"):
        uv.atlas_texels(crooked, 32)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (35.0, -10.0)])
def test_unwrap_gives_the_texture_back(yaw: float, pitch: float) -> None:
    surface, camera = dome(64), frontal_camera(1, 256)
    view = posed(surface, yaw, pitch)
    photo = photo_of(surface, view, camera)
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    observation = uv.unwrap(surface, photo, view, camera, fragments, 128)
    trusted = observation.uv_visibility[0, 0] > 0.5
    assert trusted.float().mean() > 0.3
    expected = colour_at(*texel_centres(128)).permute(2, 0, 1)
    error = (observation.uv_texture[0] - expected).abs().amax(0)
    assert error[trusted].max() < 0.02
    assert (observation.uv_texture[0][:, ~uv.atlas_texels(surface, 128).mask] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [256, 1024, 4096])
def test_unwrap_into_maps_of_every_size(resolution: int) -> None:
    surface, camera = dome(64), frontal_camera(1, 256)
    view = posed(surface)
    photo = photo_of(surface, view, camera)
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    observation = uv.unwrap(surface, photo, view, camera, fragments, resolution)
    trusted = observation.uv_visibility[0, 0] > 0.5
    assert 0.3 < trusted.float().mean() < 0.9
    expected = colour_at(*texel_centres(resolution)).permute(2, 0, 1)
    assert (observation.uv_texture[0] - expected).abs().amax(0)[trusted].max() < 0.02
    mask = uv.atlas_texels(surface, resolution).mask
    grown = uv.dilate_seams(observation.uv_texture + 1, mask, texels=2)[0, 0] > 0
    middle = resolution // 2
    assert int(grown[middle].sum()) == int(mask[middle].sum()) + 4


def test_visibility_is_the_ramp_of_the_cosine_on_a_convex_surface() -> None:
    surface, camera = dome(64), frontal_camera(1, 256)
    view = posed(surface, 20.0)
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    visibility = uv.unwrap(surface, torch.zeros(1, 3, 256, 256), view, camera, fragments, 128).uv_visibility[0, 0]
    # Closed form: the normal of an ellipsoid at a point is the point over the squared radii.
    u, v = texel_centres(128)
    longitude, latitude = (0.8 * math.pi * (value - 0.5) / 0.9 for value in (u, 0.5 + 0.5 - v))
    unit = torch.stack([latitude.cos() * longitude.sin(), latitude.sin(), latitude.cos() * longitude.cos()], -1)
    radii = torch.tensor([0.08, 0.1, 0.09])
    rotation = euler_degrees_to_matrix(torch.tensor(20.0), torch.tensor(0.0), torch.tensor(0.0))
    position = (unit * radii) @ rotation.T - torch.tensor([0, 0, DISTANCE])
    normal = torch.nn.functional.normalize((unit / radii) @ rotation.T, dim=-1)
    cosine = -(normal * torch.nn.functional.normalize(position, dim=-1)).sum(-1)
    expected = ((cosine - 0.3) / 0.2).clamp(0, 1) * uv.atlas_texels(surface, 128).mask
    inner = (u - 0.5).abs().maximum((v - 0.5).abs()) < 0.4  # border normals of the open mesh are one-sided
    assert (expected[inner] == 0).any()
    assert (expected[inner] == 1).any()
    torch.testing.assert_close(visibility[inner], expected[inner], atol=0.03, rtol=0)


class TwoDomes:
    """A small dome (not in the atlas) hovering before a large one."""

    def __init__(self) -> None:
        behind, front = dome(32), dome(32, radii=(0.02, 0.02, 0.01))
        self.vertices = torch.cat([behind.vertices, front.vertices + torch.tensor([0.0, 0.0, 0.11])])
        self.triangles = torch.cat([behind.triangles, front.triangles + len(behind.vertices)])
        self.uv, self.uv_triangles, self.uv_mirror = behind.uv, behind.uv_triangles, behind.uv_mirror

    def normals(self, vertices: torch.Tensor) -> torch.Tensor:
        return vertex_normals(vertices, self.triangles)


def test_what_is_hidden_is_not_visible() -> None:
    surface, camera = TwoDomes(), frontal_camera(1, 256)
    view = (surface.vertices - torch.tensor([0, 0, DISTANCE]))[None]
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    observation = uv.unwrap(surface, torch.ones(1, 3, 256, 256), view, camera, fragments, 128)
    position = uv.bake_vertices(surface, view, 128)[0]
    # Independent: a texel is hidden if its line of sight passes the front dome's rim disc.
    offset = position[:2] / -position[2] * (DISTANCE - 0.11)
    radius = offset.norm(dim=0) / 0.02
    mask = uv.atlas_texels(surface, 128).mask
    visibility = observation.uv_visibility[0, 0]
    assert (visibility[mask & (radius < 0.8)] == 0).all()
    assert (mask & (radius < 0.8)).sum() > 50
    ring = mask & (radius > 1.15) & (radius < 1.5)
    assert ring.sum() > 50
    assert (visibility[ring] == 1).all()


def test_outside_the_photo_and_invalid_photo_are_not_visible() -> None:
    surface = dome(32)
    camera = Camera(torch.tensor([800.0]), torch.tensor([[60.0, 128.0]]), 256, 256)  # left part is cut off
    view = posed(surface)
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    valid = torch.ones(1, 1, 256, 256)
    valid[..., 100:140, :] = 0
    both = [
        uv.unwrap(surface, torch.ones(1, 3, 256, 256), view, camera, fragments, 128, mask) for mask in (None, valid)
    ]
    position = uv.bake_vertices(surface, view, 128)
    points = torch.stack([800 * position[0, 0] / -position[0, 2] + 60, -800 * position[0, 1] / -position[0, 2] + 128])
    outside = points[0] < 0.5
    free, masked = (observation.uv_visibility[0, 0] for observation in both)
    assert (outside & uv.atlas_texels(surface, 128).mask).any()
    assert (free[outside] == 0).all()
    in_gap = (points[1] > 100) & (points[1] < 140) & (free > 0)
    assert in_gap.any()
    assert (masked[in_gap] == 0).all()
    clear = (points[1] < 98) & (free > 0)
    assert torch.equal(masked[clear], free[clear])


def test_fine_photos_are_prefiltered() -> None:
    # A photo of one-pixel black and white stripes at 8 pixels a texel must become grey, not noise.
    surface, camera = dome(32), frontal_camera(1, 1024)
    view = posed(surface)
    stripes = (torch.arange(1024) % 2).float().expand(1, 3, 1024, 1024)
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    observation = uv.unwrap(surface, stripes, view, camera, fragments, 32)
    trusted = observation.uv_visibility[0, 0] > 0.9
    assert trusted.sum() > 100
    assert (observation.uv_texture[0, 0][trusted] - 0.5).abs().max() < 0.05


def test_unwrap_is_differentiable_in_photo_and_vertices() -> None:
    surface, camera = dome(8), frontal_camera(1, 32)
    view = posed(surface).double()
    photo = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    camera = Camera(camera.focal_px.double(), camera.principal_px.double(), 32, 32)
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    weights = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def total(photo: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
        observation = uv.unwrap(surface, photo, view, camera, fragments, 16, max_level=0)
        return (observation.uv_texture * weights + 0.1 * observation.uv_normal_view * weights).sum()

    inputs = photo.requires_grad_(), view.requires_grad_()
    # Directional derivative along a random direction of all inputs at once (the full Jacobian takes a minute).
    gradients = torch.autograd.grad(total(*inputs), inputs)
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in inputs]
    directions[1] *= 1e-3
    step = 1e-4
    with torch.no_grad():
        ahead, behind = (
            total(*(value + sign * step * way for value, way in zip(inputs, directions, strict=True)))
            for sign in (1, -1)
        )
    numeric = (ahead - behind) / (2 * step)
    exact = sum((gradient * way).sum() for gradient, way in zip(gradients, directions, strict=True))
    torch.testing.assert_close(exact, numeric, rtol=1e-4, atol=1e-6)


def test_sizes_must_fit() -> None:
    surface, camera = dome(4), frontal_camera(1, 32)
    view = posed(surface)
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    with pytest.raises(ValueError, match="one size"):
        uv.unwrap(surface, torch.zeros(1, 3, 16, 16), view, camera, fragments, 16)


def test_texels_per_pixel_is_the_scale_of_the_image() -> None:
    surface, camera = dome(64), frontal_camera(1, 128)
    view = posed(surface)
    fragments, buffer = render_gbuffer(surface, view, camera)
    spans = uv.texels_per_pixel(surface, fragments, view, camera, 512)
    # At the middle a pixel is distance / focal wide; the atlas has 0.9 / (0.8 pi) of its width a radian.
    metres = (DISTANCE - 0.09) / float(camera.focal_px[0])
    per_metre_u, per_metre_v = (512 * 0.9 / (0.8 * math.pi * radius) for radius in (0.08, 0.1))
    assert float(spans[0, 0, 64, 64]) == pytest.approx(metres * math.sqrt(per_metre_u * per_metre_v), rel=0.02)
    assert (spans[~buffer.skin_coverage] == 0).all()


def test_distant_map_is_read_as_its_mean() -> None:
    surface, camera = dome(32), frontal_camera(1, 24)
    view = posed(surface)
    fragments, buffer = render_gbuffer(surface, view, camera)
    noise = torch.rand(1, 1, 1024, 1024, generator=torch.Generator().manual_seed(0)).requires_grad_()
    spans = uv.texels_per_pixel(surface, fragments, view, camera, 1024)
    filtered, sharp = (sample_uv(noise, buffer.uv, footprint) for footprint in (spans, None))
    seen = buffer.skin_coverage
    assert filtered[seen].std() < 0.02 < sharp[seen].std()
    assert float(filtered[seen].detach().mean()) == pytest.approx(0.5, abs=0.01)
    (gradient,) = torch.autograd.grad(filtered[seen].sum(), noise)
    assert (gradient > 0).float().mean() > 0.3, "most of the seen texels feel a pull"


def test_seams_grow_outward_only_and_stay_symmetric() -> None:
    surface = dome(20)
    mask = uv.atlas_texels(surface, 64).mask
    values = uv.bake_vertices(surface, surface.vertices[None], 64)
    grown = uv.dilate_seams(values, mask, texels=3)
    assert torch.equal(grown[..., mask], values[..., mask])
    filled = (grown != 0).any(1)[0]
    expected = torch.nn.functional.max_pool2d(mask[None].float(), 7, 1, 3)[0] > 0
    assert torch.equal(filled, expected)
    assert grown.amax() <= values.amax() + 1e-7
    symmetric = 0.5 * (values + values.flip(-1))
    assert torch.equal(uv.dilate_seams(symmetric, mask), uv.dilate_seams(symmetric, mask).flip(-1))


def test_mirrored_normals() -> None:
    surface = dome(20)
    baked = uv.bake_vertices(surface, surface.normals(surface.vertices[None]), 64)
    torch.testing.assert_close(uv.mirror_uv_normals(baked), baked, atol=1e-6, rtol=0)
