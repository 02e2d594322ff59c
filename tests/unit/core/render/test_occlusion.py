from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.environments import load_environments
from facealbedo.assets.occlusion import compute_model_occlusion, load_occlusion
from facealbedo.core.lighting import sh
from facealbedo.core.lighting.envmap import solid_angles, texel_directions
from facealbedo.core.render import occlusion
from facealbedo.core.render.synthetic import icosphere


def test_convex_body_hides_nothing_from_itself() -> None:
    vertices, triangles = icosphere(2)
    result = occlusion.compute_occlusion(0.1 * vertices.numpy(), vertices.numpy(), triangles.numpy(), 512)
    assert result.openness.min() > 0.999
    assert result.transfer.abs().max() < 2e-3


def disc_over_point(height: float, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A single vertex at the origin looking up, under a round disc."""
    turn = np.linspace(0, 2 * np.pi, 129)[:-1]
    rim = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.full_like(turn, height)], 1)
    vertices = np.concatenate([[[0.0, 0, 0], [0, 0, height]], rim])
    index = np.arange(128)
    triangles = np.stack([np.ones(128, int), 2 + index, 2 + (index + 1) % 128], 1)
    return vertices, np.tile([[0.0, 0, 1]], (len(vertices), 1)), triangles


def test_disc_overhead_hides_what_the_closed_form_says() -> None:
    vertices, normals, triangles = disc_over_point(0.1, 0.1)
    result = occlusion.compute_occlusion(vertices, normals, triangles, 20000)
    # Form factor of a disc straight above: sin² of its angular radius; here 45 degrees.
    assert float(result.openness[0]) == pytest.approx(0.5, abs=5e-3)
    # Band 0: the lost irradiance of a white sky is pi times that; band 1, m = 0: integral of Y_10 cos over the cap.
    assert float(result.transfer[0, 0]) * math.sqrt(4 * math.pi) == pytest.approx(-0.5 * math.pi, abs=0.02)
    expected = -math.sqrt(3 / (4 * math.pi)) * 2 * math.pi * (1 - math.cos(math.pi / 4) ** 3) / 3
    assert float(result.transfer[0, 2]) == pytest.approx(expected, abs=0.01)
    assert result.transfer[0, [1, 3, 4, 5, 7, 8]].abs().max() < 0.01


def test_rays_along_axes_and_needles_do_no_harm() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0.5, 0, 0], [0.5, 0, 0], [0.5, 0, 0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5], [0, 3, 1]])
    result = occlusion.compute_occlusion(vertices, np.tile([[0.0, 0, 1]], (6, 1)), triangles, 64)
    assert result.openness.isfinite().all()
    assert (result.openness == 1).all()


def test_shadow_of_a_white_sky_is_the_lost_openness() -> None:
    shipped = load_occlusion()
    sky = torch.zeros(1, 3, 9)
    sky[..., 0] = math.sqrt(4 * math.pi)
    transfer = shipped.transfer.T.reshape(1, 9, -1, 1)
    lost = occlusion.shadow_irradiance(transfer, sky)[0, 0, :, 0] / math.pi
    torch.testing.assert_close(1 + lost, shipped.openness, atol=0.01, rtol=0)


def test_shipped_file_belongs_to_the_shipped_face_model() -> None:
    shipped, again = load_occlusion(), compute_model_occlusion(load_face_model(), n_directions=256)
    assert (shipped.openness - again.openness).abs().mean() < 0.01
    assert (shipped.openness - again.openness).abs().quantile(0.999) < 0.15
    # The face is open, nostrils, mouth and the backs of the eyeballs are not.
    model = load_face_model()
    cheeks = model.uv_source[model.region("cheeks") > 0.9]
    assert shipped.openness[cheeks].median() > 0.9
    assert shipped.openness.min() < 0.05
    mirrored = shipped.openness[model.vertex_mirror]
    assert (mirrored - shipped.openness).abs().median() < 0.01


def test_transfer_brings_sh_shading_closer_to_ray_cast_shading() -> None:
    # Independent truth: every texel of the map, its own shadow ray from 400 vertices of the face.
    model, shipped, environments = load_face_model(), load_occlusion(), load_environments()
    normals = model.normals(model.mean[None])[0]
    face = torch.unique(model.uv_source[model.region("face") > 0.9])
    points = face[torch.linspace(0, len(face) - 1, 400).long()]
    maps = environments.maps.radiance[::3]
    directions = texel_directions(32, maps).reshape(-1, 3)
    tree = occlusion._build_tree(model.mean.double().numpy(), model.triangles.numpy())
    origins = (model.mean + 2e-4 * normals)[points].double().numpy()
    one_hot = np.eye(len(directions))
    seen = np.zeros((len(points), len(directions)))
    cosines = (normals[points] @ directions.T).clamp(min=0)
    for index in range(len(points)):
        _, hidden = occlusion._cast(
            origins[index : index + 1], normals[points[index]][None].double().numpy(),
            directions.double().numpy(), one_hot, *tree,
        )  # fmt: skip
        seen[index] = hidden[0] == 0
    weights = cosines * torch.from_numpy(seen).float() * solid_angles(32, maps).repeat_interleave(64)
    truth = torch.einsum("pd,bcd->bpc", weights, maps.flatten(2))
    light = environments.sh_radiance[::3, :, :9]
    count = len(maps)
    plain = sh.irradiance(light, normals[points][None].expand(count, -1, -1)).clamp(min=0)
    transfer = shipped.transfer[points].T.reshape(1, 9, -1, 1).expand(count, -1, -1, -1)
    shadow = occlusion.shadow_irradiance(transfer, light)[..., 0].transpose(1, 2)
    ambient = plain * shipped.openness[points][None, :, None]

    def error(estimate: torch.Tensor) -> float:
        return float(((estimate - truth).square().mean((1, 2)).sqrt() / truth.square().mean((1, 2)).sqrt()).mean())

    errors = [error(value) for value in (plain, ambient, (plain + shadow).clamp(min=0))]
    assert errors[2] < errors[0]
    assert errors[1] < errors[0]
    assert errors[2] < 0.085
