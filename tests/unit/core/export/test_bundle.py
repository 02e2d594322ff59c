from __future__ import annotations

import io
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

from facealbedo.core.export.bundle import FILE_NOTES, export_face
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.preview_lights import PREVIEW_LIGHTS
from facealbedo.core.export.report import encode_summary, row_of_report
from facealbedo.core.export.sheet import PREVIEW_PICTURES, build_index
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset, TensorRecord


def export(asset: FaceAsset, photo: torch.Tensor, model: FaceModel, config: ExportConfig) -> dict[str, bytes]:
    return export_face(
        asset,
        photo,
        model,
        face_id="face one",
        photo_name="p.jpg",
        numbers={"fit": {"nme_percent": 1.5}, "tone": {"ita_std": 9.0, "ita_group": "given"}},
        facts={"versions": {"facealbedo": "x"}},
        config=config,
    )


@pytest.fixture(scope="module")
def files(asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig) -> dict[str, bytes]:
    return export(asset, photo, model, tiny)


def test_every_file_is_there_and_can_be_read(files: dict[str, bytes], tiny: ExportConfig) -> None:
    sizes = {name: Image.open(io.BytesIO(data)).size for name, data in files.items() if name.endswith(("png", "jpg"))}
    assert sizes == {
        "albedo.png": (64, 64),
        "texture.png": (64, 64),
        "visibility.png": (64, 64),
        "shading.png": (64, 64),
        "overlay.png": (96, 96),
        "photo.jpg": (96, 96),
        "relit.png": (32 * len(PREVIEW_LIGHTS), 32),
        "preview.jpg": (16 * (len(PREVIEW_PICTURES) + len(PREVIEW_LIGHTS)), 16),
    }
    for data in files.values():
        assert data
    assert Image.open(io.BytesIO(files["visibility.png"])).mode == "L"
    assert set(FILE_NOTES) <= set(files)


def test_report_names_every_file_and_merges_numbers(files: dict[str, bytes]) -> None:
    content = json.loads(files["report.json"])
    assert set(content["files"]) | {"report.json"} == set(files)
    assert all(content["files"].values())
    assert content["numbers"]["tone"]["ita_group"] == "given"
    assert content["numbers"]["tone"]["ita_std"] == 9.0
    assert -90 < content["numbers"]["maps"]["albedo_ita_degrees"] < 90
    assert content["numbers"]["maps"]["overlay_error"] < 4
    assert content["versions"] == {"facealbedo": "x"}
    assert "soft front" in content["files"]["relit.png"]


def test_row_table_and_page_come_from_the_report(files: dict[str, bytes]) -> None:
    row = row_of_report(files["report.json"], "face one")
    assert b"face%20one/face.glb" in build_index([row])
    assert encode_summary([row]).startswith(b"id,photo,status,reason,maps.visible_percent")


def test_same_input_same_bytes_and_nothing_is_changed(
    asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig, files: dict[str, bytes]
) -> None:
    before = tensors(asset)
    assert export(asset, photo.clone(), model, tiny) == files
    for first, second in zip(before, tensors(asset), strict=True):
        assert torch.equal(first, second)


def tensors(record: TensorRecord) -> list[torch.Tensor]:
    values = [getattr(record, item.name) for item in fields(record)]  # type: ignore[arg-type]
    own = [value.clone() for value in values if isinstance(value, torch.Tensor)]
    return own + [inner for value in values if isinstance(value, TensorRecord) for inner in tensors(value)]


def test_obj_is_added_on_request_with_the_same_albedo(
    asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig, files: dict[str, bytes]
) -> None:
    more = export(asset, photo, model, replace(tiny, with_obj=True))
    assert set(more) - set(files) == {"face.obj", "face.mtl", "eye.png"}
    assert more["albedo.png"] == files["albedo.png"]


def test_albedo_in_the_glb_is_the_file(files: dict[str, bytes]) -> None:
    assert files["albedo.png"] in files["face.glb"]


def test_nan_in_the_maps_neither_stops_nor_spoils_the_export(
    asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig
) -> None:
    texture = asset.observation.uv_texture.clone()
    texture[..., 10, 10] = float("nan")
    visibility = asset.observation.uv_visibility.clone()
    visibility[..., 10, 10] = float("nan")
    broken = replace(asset, observation=replace(asset.observation, uv_texture=texture, uv_visibility=visibility))
    files = export(broken, photo, model, tiny)
    assert np.asarray(Image.open(io.BytesIO(files["texture.png"])))[10, 10].tolist() == [0, 0, 0]
    assert json.loads(files["report.json"])["numbers"]["maps"]["visible_percent"] is None


@pytest.mark.gpu
def test_an_asset_on_a_gpu_gives_the_same_files(
    asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig, files: dict[str, bytes]
) -> None:
    assert export(asset.to("cuda"), photo.to("cuda"), model, tiny) == files


def test_a_default_glb_of_a_detailed_face_is_below_four_megabytes(asset: FaceAsset, model: FaceModel) -> None:
    from facealbedo.core.export.asset_files import export_glb

    noise = torch.rand(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    albedo = 0.3 + 0.08 * torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    detailed = replace(asset, uv_albedo=albedo, prior_albedo=albedo)
    assert len(export_glb(detailed, model)) < 4e6
