"""Fabricated people, and assets of fitted crops: the same every time, complete, and close to what is true."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from facealbedo.core.colour import ita_degrees, linear_rgb_to_lab
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.networks.presets import PRESETS, build_refiner
from facealbedo.core.train.checkpoint import weights_to_bytes
from facealbedo.dataloading.verification import verify_face
from facealbedo.datasets.face_folders import write_face_folder
from facealbedo.exporting import export_missing, summarise
from facealbedo.fabricated import FabricatedPerson, fabricated_people
from facealbedo.params.export import ExportFitsParams
from facealbedo.params.prepare import FitParams, PreprocessParams
from facealbedo.params.reconstruct import RefineParams
from facealbedo.preparation import faces_table, find_faces, fit_crops, fits_table
from facealbedo.reconstructor import Source

Prepared = tuple[pd.DataFrame, pd.DataFrame, dict[str, Path]]


@pytest.fixture(scope="module")
def people() -> list[FabricatedPerson]:
    return list(fabricated_people(2, 20_000, 256, 64))


@pytest.fixture(scope="module")
def prepared(people: list[FabricatedPerson], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Fits, manifest and crops of two people."""
    folder = tmp_path_factory.mktemp("crops")
    sources = [Source(person.name, f"{person.name}.png", lambda person=person: person.photo) for person in people]
    params, journal = PreprocessParams(crop_px=128), []
    for found in find_faces(params, [], sources):
        journal += found.entries
        for name, content in found.crops.items():
            (folder / f"{name}.jpg").write_bytes(content)
    faces = faces_table(params, journal, sources)
    crops = {path.stem: path for path in folder.iterdir()}
    fitted = [entry for entries in fit_crops(FitParams(working_px=128), faces, crops, []) for entry in entries]
    return fits_table(faces, fitted), faces, crops


def test_a_person_depends_on_its_seed_alone(people: list[FabricatedPerson]) -> None:
    assert next(iter(fabricated_people(1, 20_001, 256, 64))).photo != people[1].photo  # another group
    again = list(fabricated_people(2, 20_000, 256, 64))
    assert [(p.name, p.photo, p.truth) for p in again] == [(p.name, p.photo, p.truth) for p in people]


def test_the_truth_holds_albedo_of_the_group_asked_for(people: list[FabricatedPerson]) -> None:
    """The groups take turns from the lightest (ITA over 55 degrees) on."""
    truth = safetensors.torch.load(people[0].truth)
    assert truth["uv_albedo"].shape == (1, 3, 64, 64)
    assert {"coefficients.identity_coeffs", "pose.rotation", "camera.focal_px", "light.sh_radiance"} <= set(truth)
    middle = truth["uv_albedo"][0, :, 24:40, 24:40].flatten(1).median(dim=1).values
    assert float(ita_degrees(linear_rgb_to_lab(middle))) > 45


def test_assets_of_fits_are_whole_and_a_second_run_has_nothing_to_do(prepared: Prepared, tmp_path: Path) -> None:
    fits, faces, crops = prepared
    params, journal = ExportFitsParams(texture_px=256), []
    for files, entries in export_missing(params, fits, faces, crops, []):
        journal += entries
        for face_id, content in files.items():
            write_face_folder(tmp_path, face_id, content)
    assert len(journal) == len(crops) == 2
    assert all(verify_face(folder).is_sound for folder in tmp_path.iterdir())
    assert list(export_missing(params, fits, faces, crops, journal)) == []
    again = dict(next(export_missing(params, fits, faces, crops, journal[1:]))[0])
    for name, content in again[journal[0]["id"]].items():
        assert (tmp_path / journal[0]["id"] / name).read_bytes() == content, name
    table, page = summarise(params, fits, journal)
    assert table.count(b"\n") == 3
    assert b"fabricated_00001" in page


def test_a_network_is_used_and_named(prepared: Prepared, tmp_path: Path) -> None:
    fits, faces, crops = prepared
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights_to_bytes(build_refiner(PRESETS["tiny"]), PRESETS["tiny"], {}))
    params = ExportFitsParams(refine=RefineParams(method="network", weights=str(weights)), texture_px=256)
    files, _ = next(export_missing(params, fits, faces, crops, []))
    (content,) = files.values()
    manifest = json.loads(content["manifest.json"])
    assert manifest["models"]["weights.safetensors"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert str(tmp_path).encode() not in content["manifest.json"] + content["report.json"]
    plain, _ = next(export_missing(ExportFitsParams(texture_px=256), fits, faces, crops, []))
    assert next(iter(plain.values()))["albedo.png"] != content["albedo.png"]


def test_a_network_whose_weights_are_missing_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    params = ExportFitsParams(refine=RefineParams(method="network", weights=str(tmp_path / "missing.safetensors")))
    with pytest.raises(FaceAlbedoError, match="weights"):
        next(export_missing(params, *prepared, []))
