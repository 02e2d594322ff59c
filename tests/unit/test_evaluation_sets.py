"""Readers and measures of the sets that users bring: FAIR, portraits, many lights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from facealbedo.core.colour import ITA_GROUPS, linear_to_srgb
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.evaluate.methods import select_methods
from facealbedo.core.evaluate.perceptual import lpips_objection
from facealbedo.core.face_model.skin import skin_colour
from facealbedo.core.imaging.encoding import encode_png_srgb, encode_png_values
from facealbedo.core.metrics.fair import score_fair
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.evaluation.fair import read_fair
from facealbedo.evaluation.multilight import list_people, measure_people, multilight_metrics
from facealbedo.evaluation.portraits import measure_portrait, portrait_metrics, portrait_sources
from facealbedo.evaluation.reports import measured_of
from facealbedo.evaluation.subjects import Laboratory, read_weights
from facealbedo.fabricated import fabricated_portrait
from facealbedo.params.evaluate import EvaluateParams

SIZE = 32
# log melanin of one skin in each ITA group, very light to dark.
MELANIN = torch.tensor([-4.9, -4.1, -3.6, -3.0, -2.3, -1.2])


def skin(melanin: float) -> torch.Tensor:
    return skin_colour(torch.full((1, SIZE, SIZE), melanin), torch.full((1, SIZE, SIZE), -3.4))[0]


@pytest.fixture
def fair(tmp_path: Path) -> Path:
    """Six cases, one a group, predicted 10 % too bright; one truth as an array."""
    for kind in ("truth", "predictions", "masks"):
        (tmp_path / kind).mkdir()
    for group, melanin in zip(ITA_GROUPS, MELANIN.tolist(), strict=True):
        truth = skin(melanin)
        (tmp_path / "truth" / f"{group.name}.png").write_bytes(encode_png_srgb(truth, bits=16))
        (tmp_path / "predictions" / f"{group.name}.png").write_bytes(encode_png_srgb(1.1 * truth, bits=16))
    (tmp_path / "masks" / "skin.png").write_bytes(encode_png_values(torch.ones(1, SIZE, SIZE)))
    table = "case,person\n" + "".join(f"{group.name},p{group.name}\n" for group in ITA_GROUPS)
    (tmp_path / "cases.csv").write_text(table)
    return tmp_path


def test_fair_scores_a_folder(fair: Path) -> None:
    scores = score_fair(read_fair(fair))
    assert scores["group_sizes"] == {group.name: 1 for group in ITA_GROUPS}
    assert scores["aligned"]["ita_error_average"] < 0.1
    assert scores["raw"]["ita_error_average"] > 1.0
    assert scores["mean"]["relative_l1"]["value"] == pytest.approx(0.1, abs=2e-3)
    codes = [float((linear_to_srgb(1.1 * skin(m)) - linear_to_srgb(skin(m))).mean() * 255) for m in MELANIN.tolist()]
    assert scores["mean"]["mae_255"]["value"] == pytest.approx(np.mean(codes), rel=1e-2)


def test_fair_names_what_is_missing_or_wrong(fair: Path) -> None:
    np.save(fair / "truth" / "II.npy", linear_to_srgb(skin(-4.1)).permute(1, 2, 0).numpy()[:16])
    with pytest.raises(EvaluationError, match="FAIR case II: prediction and truth: sizes differ"):
        read_fair(fair)
    (fair / "truth" / "II.npy").unlink()
    cases = read_fair(fair)
    with pytest.raises(EvaluationError, match="ITA group VI"):
        score_fair(cases[:5])
    (fair / "truth" / "II.png").unlink()
    with pytest.raises(EvaluationError, match="FAIR case II: neither"):
        read_fair(fair)
    with pytest.raises(EvaluationError, match="no cases"):
        score_fair([])


def test_fair_tables_masks_and_arrays_must_be_whole(fair: Path) -> None:
    np.save(fair / "truth" / "II.npy", np.zeros((SIZE, SIZE)))
    with pytest.raises(EvaluationError, match=r"II\.npy has shape \(32, 32\); expected \[height, width, 3\]"):
        read_fair(fair)
    (fair / "truth" / "II.npy").unlink()
    (fair / "masks" / "skin.png").rename(fair / "masks" / "I.png")
    with pytest.raises(EvaluationError, match="there is no mask"):
        read_fair(fair)
    (fair / "masks" / "I.png").write_bytes(encode_png_values(torch.ones(1, SIZE // 2, SIZE)))
    with pytest.raises(EvaluationError, match="FAIR case I: mask and truth: sizes differ"):
        read_fair(fair)
    (fair / "cases.csv").write_text("case,subject\nI,p\n")
    with pytest.raises(EvaluationError, match="needs the columns case and person"):
        read_fair(fair)
    (fair / "cases.csv").unlink()
    with pytest.raises(EvaluationError, match=r"there is no .*cases\.csv"):
        read_fair(fair)


def test_an_empty_mask_is_no_silent_average(fair: Path) -> None:
    (fair / "masks" / "III.png").write_bytes(encode_png_values(torch.zeros(1, SIZE, SIZE)))
    with pytest.raises(EvaluationError, match="empty mask: nothing of the region to measure is visible"):
        score_fair(read_fair(fair))


def test_srgb_codes_saved_as_linear_arrays_are_named(fair: Path) -> None:
    for group, melanin in zip(ITA_GROUPS, MELANIN.tolist(), strict=True):
        np.save(fair / "truth" / f"{group.name}.npy", linear_to_srgb(skin(melanin)).permute(1, 2, 0).numpy())
    with pytest.raises(EvaluationError, match="FAIR, truth: the values are sRGB-encoded, not linear"):
        score_fair(read_fair(fair))


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert read_weights({}) == {}
    assert list(select_methods([], read_weights(EvaluateParams().weights))) == ["default"]
    with pytest.raises(EvaluationError, match=r"default: .*missing"):
        read_weights({"default": str(tmp_path / "missing.safetensors")})
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no weights at all")
    with pytest.raises(EvaluationError, match="the weights of default cannot be used: "):
        select_methods([], read_weights({"default": str(damaged)}))
    with pytest.raises(EvaluationError, match="weights cannot be called prior: that is a baseline"):
        select_methods([], {"prior": b""})


def test_a_folder_of_portraits_must_hold_photos(tmp_path: Path) -> None:
    with pytest.raises(FaceAlbedoError, match="there is no file or folder"):
        portrait_sources(str(tmp_path / "nothing"), 10)
    with pytest.raises(FaceAlbedoError, match="holds no photos"):
        portrait_sources(str(tmp_path), 10)


@pytest.fixture(scope="module")
def lab() -> Laboratory:
    return Laboratory()


def test_a_portrait_is_measured_by_every_method(lab: Laboratory) -> None:
    pytest.importorskip("dlib", reason="the identity network is an optional dependency")
    files = measure_portrait(lab, "somebody", fabricated_portrait(1), select_methods(["texture", "prior"], {}))
    rows = {row["method"]: row for row in json.loads(files["report.json"])["rows"]}
    assert rows["texture"]["psnr"] > rows["prior"]["psnr"] + 1
    assert 0.9 < rows["texture"]["identity_cosine"] <= 1
    assert rows["prior"]["identity_cosine"] < rows["texture"]["identity_cosine"]
    assert rows["texture"]["skin_detail_kept"] > 0.8
    assert abs(rows["prior"]["skin_detail_kept"]) < 0.3
    assert rows["prior"]["left_right_error"] < 0.01
    metrics = portrait_metrics([{"rows": list(rows.values())}], {"size": "small"})
    assert sum(metrics["ita_distribution"]["prior"].values()) == 1
    assert ("lpips" in rows["texture"]) == (lpips_objection() is None)
    assert metrics["lpips"].startswith("not available") or metrics["lpips"] == "computed"


def test_a_photo_without_a_face_is_counted_not_averaged(lab: Laboratory) -> None:
    grey = encode_png_srgb(torch.full((3, 128, 128), 0.3))
    report = json.loads(measure_portrait(lab, "wall", grey, select_methods(["prior"], {}))["report.json"])
    assert report["rows"][0]["reason"] == "no face was found"
    with pytest.raises(EvaluationError, match="no photo of the set was reconstructed"):
        portrait_metrics([report], {"size": "small"})


def test_many_lights_from_folders(tmp_path: Path, lab: Laboratory) -> None:
    """Two people, two exposures each: the texture's spread is that of the exposure, the prior's is less."""
    from facealbedo.core.imaging.decoding import decode_image

    for seed in (1, 2):
        folder = tmp_path / "people" / f"person{seed}"
        folder.mkdir(parents=True)
        decoded = decode_image(fabricated_portrait(seed))
        linear = torch.from_numpy(decoded.linear_pixels(0, decoded.height, 0, decoded.width).copy()).permute(2, 0, 1)
        for number, gain in enumerate((1.0, 0.6)):
            (folder / f"light{number}.png").write_bytes(encode_png_srgb(gain * linear))
        (folder / "person_Ambient.png").write_bytes(encode_png_srgb(0 * linear))
    people = list_people(tmp_path / "people")
    assert [len(person.photos) for person in people] == [2, 2]
    measured = {}
    for name, files in measure_people(lab, people, select_methods(["texture", "prior"], {})):
        measured[name] = tmp_path / "measured" / name
        measured[name].mkdir(parents=True)
        for file_name, content in files.items():
            (measured[name] / file_name).write_bytes(content)
    metrics = multilight_metrics(measured, lab, {"size": "small"})
    spread = {name: table["mean"]["spread"]["value"] for name, table in metrics["tables"]["fitted"].items()}
    assert spread["texture"] > 2
    assert spread["prior"] < 0.8 * spread["texture"]
    with pytest.raises(EvaluationError, match="only 1 people"):
        multilight_metrics(dict(list(measured.items())[:1]), lab, {"size": "small"})


def test_folders_of_people_must_allow_a_spread(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="there is no folder"):
        list_people(tmp_path / "nothing")
    folder = tmp_path / "person1"
    folder.mkdir()
    (folder / "one.png").write_bytes(encode_png_srgb(torch.zeros(3, 16, 16)))
    with pytest.raises(EvaluationError, match="has 1 photos"):
        list_people(tmp_path)


def test_subjects_that_were_not_measured_are_named(tmp_path: Path) -> None:
    measured = {"full_000": tmp_path}
    assert measured_of(measured, ["full_000"]) == measured
    with pytest.raises(EvaluationError, match="1 of 2 subjects were not measured, first full_001"):
        measured_of(measured, ["full_000", "full_001"])
