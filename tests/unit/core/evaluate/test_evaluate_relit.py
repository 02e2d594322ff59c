"""The relit set: balanced, the same every time, and refused when it is not what it says."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.core.colour import ita_group, linear_to_srgb
from facealbedo.core.evaluate.methods import FittedFace
from facealbedo.core.evaluate.relit_files import config_hash, person_from_files, person_to_files
from facealbedo.core.evaluate.relit_score import (
    ScoreMaps,
    at_resolution,
    light_strength_factor,
    prepare_targets,
    score_albedo,
    score_maps,
    scores_of_truth,
    true_uv_shading,
)
from facealbedo.core.evaluate.relit_set import RelitPerson, make_person
from facealbedo.core.metrics.albedo import skin_ita
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.render.uv import bake_region
from facealbedo.core.types import Lighting, UVObservation
from facealbedo.fabricated import load_studio
from tests.unit.core.evaluate.conftest import TINY

SIZE = 256


@pytest.fixture(scope="module")
def maps() -> ScoreMaps:
    model = load_face_model()
    return score_maps(model, bake_region(model, "face", SIZE)[None, None])


def changed(files: dict[str, bytes], name: str, **arrays: np.ndarray) -> dict[str, bytes]:
    stored = dict(np.load(io.BytesIO(files[name])))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **(stored | arrays))
    return files | {name: buffer.getvalue()}


def test_a_person_is_of_its_group(person: RelitPerson, maps: ScoreMaps) -> None:
    assert int(ita_group(skin_ita(person.uv_albedo, maps.core))[0]) == person.group


def test_files_are_read_back(person: RelitPerson, person_files: dict[str, bytes]) -> None:
    back = person_from_files(person_files, load_face_model(), "someone")
    torch.testing.assert_close(back.uv_albedo, person.uv_albedo, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(back.photos[0].pose.rotation, person.photos[0].pose.rotation)
    codes = (linear_to_srgb(back.photos[0].image) - linear_to_srgb(person.photos[0].image.clamp(0, 1))).abs()
    assert float(codes.max()) <= 0.51 / 255


@pytest.mark.slow
def test_a_person_is_made_the_same_twice(person_files: dict[str, bytes]) -> None:
    with torch.no_grad():
        again = person_to_files(make_person(load_studio(True), TINY, 3), TINY)
    assert again == person_files


def test_srgb_in_place_of_linear_truth_is_named(person: RelitPerson, person_files: dict[str, bytes]) -> None:
    model = load_face_model()
    encoded = linear_to_srgb(person.uv_albedo).half().numpy()
    with pytest.raises(EvaluationError, match="the albedo is sRGB-encoded, not linear"):
        person_from_files(changed(person_files, "truth.npz", uv_albedo=encoded), model, "someone")
    encoded = linear_to_srgb(person.photos[0].shading).half().numpy()
    with pytest.raises(EvaluationError, match="the shading is sRGB-encoded, not linear"):
        person_from_files(changed(person_files, "photo_0.npz", shading=encoded), model, "someone")
    wrong = (0.3 * person.uv_albedo).half().numpy()
    with pytest.raises(EvaluationError, match="not of one face"):
        person_from_files(changed(person_files, "truth.npz", uv_albedo=wrong), model, "someone")


def test_missing_damaged_and_misfit_files_are_named(person_files: dict[str, bytes]) -> None:
    model = load_face_model()
    without = {name: content for name, content in person_files.items() if name != "photo_0.npz"}
    with pytest.raises(EvaluationError, match=r"someone: the ground truth lacks photo_0\.npz"):
        person_from_files(without, model, "someone")
    with pytest.raises(EvaluationError, match=r"truth\.npz is damaged"):
        person_from_files(person_files | {"truth.npz": b"PK nothing"}, model, "someone")
    with pytest.raises(EvaluationError, match="64 x 64 pixels, its truth 96 x 96"):
        person_from_files(person_files | {"photo_0.png": person_files["target_0.png"]}, model, "someone")
    with pytest.raises(EvaluationError, match=r"no report\.json"):
        person_from_files({}, model, "someone")
    report = json.loads(person_files["report.json"])
    assert report["config"] == config_hash(TINY)


def test_the_truth_scores_perfectly_and_a_darker_map_does_not(person: RelitPerson, maps: ScoreMaps) -> None:
    model = load_face_model()
    targets = prepare_targets(model, person, maps)
    light = true_uv_shading(model, person, person.photos[0], SIZE)
    shading, visible = light
    normals = torch.zeros_like(shading)
    normals[:, 2] = 1.0
    observation = UVObservation(person.uv_albedo * shading, visible, normals)
    ambient = Lighting(torch.nn.functional.pad(torch.full((1, 3, 1), 3.5449), (0, 8)))
    full = torch.ones(1, 1, SIZE, SIZE)
    face = FittedFace(observation, person.uv_albedo, ambient, full, maps.face, maps.skin, maps.features, maps.features)
    best = score_albedo(person.uv_albedo, face, person, targets, light, maps)
    assert best["delta_e"] < 0.05
    assert best["relight_psnr"] > 60
    assert best["ita_error"] < 0.1
    truth = scores_of_truth(face, person, light, maps)
    assert truth == {name: pytest.approx(best[name.removesuffix("_of_truth")]) for name in truth}
    assert truth["light_correlation_of_truth"] > 0
    # In a photo without any light all detail is the albedo's.
    unlit = replace(face, observation=replace(observation, uv_texture=person.uv_albedo))
    flat = scores_of_truth(unlit, person, light, maps)
    assert flat["feature_detail_kept_of_truth"] == pytest.approx(1, abs=1e-5)
    assert flat["skin_detail_kept_of_truth"] == pytest.approx(1, abs=1e-5)
    assert truth["skin_detail_kept_of_truth"] < 0.9
    darker = score_albedo(0.5 * person.uv_albedo, face, person, targets, light, maps)
    assert darker["delta_e"] > 3
    assert darker["delta_e_aligned"] < 0.1
    assert darker["relight_psnr_aligned"] > 40 > darker["relight_psnr"]
    # Ambient light of shading 1 against the true level of this photo.
    level = light_strength_factor(face, light, maps)
    seen = (visible > 0.3).float() * maps.core
    weights = torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]
    true_level = ((shading * weights).sum(1, keepdim=True) * seen).sum() / seen.sum()
    assert level == pytest.approx(1 / float(true_level), rel=1e-2)


def test_maps_are_averaged_down(person: RelitPerson) -> None:
    half = at_resolution(person, 128).uv_albedo
    torch.testing.assert_close(half[0, :, 3, 5], person.uv_albedo[0, :, 6:8, 10:12].mean((1, 2)))
    with pytest.raises(EvaluationError, match="cannot be averaged down"):
        at_resolution(person, 96)
