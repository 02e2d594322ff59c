"""Tone, light and trust of painted faces whose skin and light are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.assets.tone import load_tone_estimator
from facealbedo.core.colour import ita_degrees, linear_rgb_to_lab
from facealbedo.core.face_model.albedo_prior import COEFFICIENT_NAMES
from facealbedo.core.fit.appearance import AppearanceFit, AppearanceMaps, appearance_maps, fit_appearance
from facealbedo.core.fit.light import openness_shading
from facealbedo.core.fit.tone import tone_rgb
from facealbedo.core.fit.tone_features import Surroundings
from facealbedo.core.lighting.sh import mirror_sh
from facealbedo.core.render.uv import bake_region, bake_vertices
from facealbedo.core.types import Lighting, UVObservation

SIZE = 128
BEARD = COEFFICIENT_NAMES.index("beard")


@pytest.fixture(scope="module")
def maps() -> AppearanceMaps:
    return appearance_maps(load_face_model(), load_occlusion().openness, SIZE)


@pytest.fixture(scope="module")
def normals() -> torch.Tensor:
    model = load_face_model()
    return torch.nn.functional.normalize(bake_vertices(model, model.normals(model.mean[None]), SIZE), dim=1)


def side_light(level: float = 1.0) -> torch.Tensor:
    light = torch.zeros(1, 3, 9)
    light[..., 0], light[..., 1], light[..., 2], light[..., 3] = 3.0, 0.5, 0.8, -0.7
    return level * light


def albedo_of(log_melanin: float, beard: float = 0.0) -> torch.Tensor:
    prior = load_albedo_prior()
    coeffs = prior.coeffs_from_tone(torch.tensor([log_melanin]), torch.tensor([math.log(0.04)]))
    coeffs[:, BEARD] = beard
    return prior.decode(coeffs, SIZE)


def fit(
    albedo: torch.Tensor, light: torch.Tensor, normals: torch.Tensor, maps: AppearanceMaps, cover: torch.Tensor | None
) -> tuple[AppearanceFit, torch.Tensor]:
    """Fit a face of that albedo in that light, black where it is covered; return also what was seen."""
    texture = albedo * openness_shading(Lighting(light), normals, maps.openness)
    if cover is not None:
        texture = torch.where(cover, torch.tensor(0.004), texture)
    seen = UVObservation(texture, torch.ones(1, 1, SIZE, SIZE), normals)
    unknown = Surroundings(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, 3), torch.zeros(1))
    return fit_appearance(seen, unknown, maps, load_albedo_prior(), load_tone_estimator()), texture


def core_of(maps: AppearanceMaps) -> torch.Tensor:
    return (maps.core > 0.9).expand(1, 3, -1, -1)


@pytest.mark.parametrize("log_melanin", [math.log(0.02), math.log(0.08), math.log(0.3)])
def test_albedo_times_light_is_the_photo(log_melanin: float, normals: torch.Tensor, maps: AppearanceMaps) -> None:
    """However albedo and light share the level, their product is what was seen."""
    found, texture = fit(albedo_of(log_melanin), side_light(0.6), normals, maps, None)
    again = found.prior_albedo * openness_shading(found.lighting, normals, maps.openness)
    error = (again / texture).log()[core_of(maps)].abs()
    assert error.mean() < 0.05
    assert found.log_residual.item() < 0.05


def test_darker_skin_is_found_darker_in_the_same_light(normals: torch.Tensor, maps: AppearanceMaps) -> None:
    tones = []
    for log_melanin in (math.log(0.02), math.log(0.08), math.log(0.3)):
        found, _ = fit(albedo_of(log_melanin), side_light(0.8), normals, maps, None)
        colour = tone_rgb(found.tone.log_melanin, found.tone.log_haemoglobin)
        tones.append(float(ita_degrees(linear_rgb_to_lab(colour))))
        # The tone of the result is the estimator's: neither the light nor the coefficients move it.
        median = found.prior_albedo[core_of(maps)].reshape(3, -1).median(1).values
        assert float(ita_degrees(linear_rgb_to_lab(median[None]))) == pytest.approx(tones[-1], abs=6)
    assert tones[0] > tones[1] + 15
    assert tones[1] > tones[2] + 15


def test_a_fringe_neither_counts_as_skin_nor_moves_the_light(normals: torch.Tensor, maps: AppearanceMaps) -> None:
    face = bake_region(load_face_model(), "face", SIZE) > 0.5
    top = int(face.any(1).nonzero().min())
    cover = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    cover[: top + 12] = True
    bare, _ = fit(albedo_of(math.log(0.03)), side_light(), normals, maps, None)
    covered, _ = fit(albedo_of(math.log(0.03)), side_light(), normals, maps, cover)
    assert covered.trust[0, 0, top + 2 : top + 9][face[top + 2 : top + 9]].mean() < 0.1
    assert covered.trust[0, 0, top + 20 :][face[top + 20 :]].mean() > 0.95
    pair = [openness_shading(one.lighting, normals, maps.openness)[core_of(maps)].log() for one in (bare, covered)]
    assert (pair[0] - pair[1]).abs().mean() < 0.1


def test_a_beard_is_found_where_there_is_one(normals: torch.Tensor, maps: AppearanceMaps) -> None:
    bare, _ = fit(albedo_of(math.log(0.03), beard=-1.0), side_light(), normals, maps, None)
    bearded, _ = fit(albedo_of(math.log(0.03), beard=2.0), side_light(), normals, maps, None)
    assert bare.albedo_coeffs[0, BEARD] == pytest.approx(-1.0, abs=0.3)
    assert bearded.albedo_coeffs[0, BEARD] > 1.0


def overhead(normals: torch.Tensor, maps: AppearanceMaps) -> torch.Tensor:
    """Shading by light from above, the underside of jaw and chin in shade that is deeper than order 2 can make it.

    Shade on skin is lit by skin: it is warm.
    """
    light = torch.zeros(1, 3, 9)
    light[..., 0], light[..., 1], light[..., 2] = 3.0, 1.6, 0.8
    down = (-normals[:, 1:2]).clamp(min=0)
    depth = torch.tensor([1.6, 2.2, 2.6]).view(1, 3, 1, 1)
    return openness_shading(Lighting(light), normals, maps.openness) * torch.exp(-depth * down)


def strength_of_beard(
    log_melanin: float, beard: float, shading: torch.Tensor, normals: torch.Tensor, maps: AppearanceMaps
) -> float:
    """Opacity of the beard found on a face lit so, with the grain of a photo."""
    grain = 0.05 * torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    texture = albedo_of(log_melanin, beard) * shading * grain.exp()
    seen = UVObservation(texture, maps.face.clone(), normals)
    unknown = Surroundings(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, 3), torch.zeros(1))
    found = fit_appearance(seen, unknown, maps, load_albedo_prior(), load_tone_estimator())
    return float(load_albedo_prior().layer_strength(found.albedo_coeffs)[0, 1])


@pytest.mark.parametrize("log_melanin", [math.log(0.02), math.log(0.08), math.log(0.3), math.log(0.5)])
def test_shade_of_light_from_above_is_no_beard(log_melanin: float, normals: torch.Tensor, maps: AppearanceMaps) -> None:
    """Whatever the skin, shade under the jaw gives no beard."""
    assert strength_of_beard(log_melanin, -1.0, overhead(normals, maps), normals, maps) < 0.06


@pytest.mark.parametrize("log_melanin", [math.log(0.02), math.log(0.08), math.log(0.3), math.log(0.5)])
def test_beard_is_found_in_light_from_above(log_melanin: float, normals: torch.Tensor, maps: AppearanceMaps) -> None:
    assert strength_of_beard(log_melanin, 1.5, overhead(normals, maps), normals, maps) > 0.35


def test_a_dark_lower_face_is_a_beard_with_strands_and_shade_without(
    normals: torch.Tensor, maps: AppearanceMaps
) -> None:
    """Round cheeks of a small child stand in soft shade that no light of order 2 makes; they are smooth."""
    place = bake_region(load_face_model(), "beard", SIZE)[None, None]
    soft = torch.nn.functional.avg_pool2d(place, 17, 1, 8)
    texture = albedo_of(math.log(0.02)) * torch.exp(-0.1 * soft)
    noise = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    beards = []
    for strands in (0.0, 0.25):
        shaded = texture * openness_shading(Lighting(side_light()), normals, maps.openness)
        seen = UVObservation(shaded * torch.exp((0.02 + strands * place) * noise), maps.face.clone(), normals)
        unknown = Surroundings(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, 3), torch.zeros(1))
        found = fit_appearance(seen, unknown, maps, load_albedo_prior(), load_tone_estimator())
        beards.append(float(found.albedo_coeffs[0, BEARD]))
    assert beards[0] < -0.1
    assert beards[1] > beards[0] + 0.3


def test_mirrored_face_gives_mirrored_light_and_trust(normals: torch.Tensor, maps: AppearanceMaps) -> None:
    albedo = albedo_of(math.log(0.05))
    found, texture = fit(albedo, side_light(), normals, maps, None)
    flip = torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    seen = UVObservation(texture.flip(-1), torch.ones(1, 1, SIZE, SIZE), normals.flip(-1) * flip)
    unknown = Surroundings(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, 3), torch.zeros(1))
    mirrored = fit_appearance(seen, unknown, maps, load_albedo_prior(), load_tone_estimator())
    torch.testing.assert_close(
        mirrored.lighting.sh_radiance, mirror_sh(found.lighting.sh_radiance), atol=0.02, rtol=0.02
    )
    assert (mirrored.trust - found.trust.flip(-1)).abs().mean() < 0.01


def test_nothing_seen_gives_finite_numbers_and_no_trust(normals: torch.Tensor, maps: AppearanceMaps) -> None:
    seen = UVObservation(torch.rand(1, 3, SIZE, SIZE), torch.zeros(1, 1, SIZE, SIZE), normals)
    unknown = Surroundings(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, 3), torch.zeros(1))
    found = fit_appearance(seen, unknown, maps, load_albedo_prior(), load_tone_estimator())
    for value in (found.albedo_coeffs, found.prior_albedo, found.lighting.sh_radiance, found.log_residual):
        assert torch.isfinite(value).all()
    assert found.trust.max() == 0


def test_trust_never_exceeds_visibility(normals: torch.Tensor, maps: AppearanceMaps) -> None:
    texture = albedo_of(math.log(0.05)) * openness_shading(Lighting(side_light()), normals, maps.openness)
    visible = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    unknown = Surroundings(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1, 3), torch.zeros(1))
    seen = UVObservation(texture, visible, normals)
    found = fit_appearance(seen, unknown, maps, load_albedo_prior(), load_tone_estimator())
    assert (found.trust <= visible + 1e-6).all()
    full = fit_appearance(
        replace(seen, uv_visibility=torch.ones_like(visible)), unknown, maps, load_albedo_prior(), load_tone_estimator()
    )
    assert found.trust.sum() < full.trust.sum()
