"""The validator of the Khronos Group on every kind of GLB that is written: no errors, no warnings."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from facealbedo.core.export.asset_files import export_glb
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset

NODE_FOLDER = Path(__file__).resolve().parents[3] / "node"
KINDS = {
    "default": ExportConfig(),
    "neutral_jpeg": ExportConfig(expression="neutral", glb_texture="jpeg"),
    "morphs": ExportConfig(morph_targets=True),
    "morphs_with_normals": ExportConfig(expression="neutral", morph_targets=True, morph_normals=True),
}

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js"),
    pytest.mark.skipif(
        not (NODE_FOLDER / "node_modules" / "gltf-validator").is_dir(), reason="needs `npm ci --prefix tests/node`"
    ),
]


def validate(paths: list[Path]) -> list[dict]:
    command = ["node", str(NODE_FOLDER / "validate.mjs"), *map(str, paths)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)


def test_every_kind_of_glb_is_valid(asset: FaceAsset, model: FaceModel, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.glb" for name in KINDS]
    for path, config in zip(paths, KINDS.values(), strict=True):
        path.write_bytes(export_glb(asset, model, config, extras={"id": "x"}))
    for path, report in zip(paths, validate(paths), strict=True):
        issues = report["issues"]
        assert issues["messages"] == [], path.stem
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0)
        assert report["info"]["totalTriangleCount"] == len(model.triangles)
        assert report["info"]["hasMorphTargets"] == path.stem.startswith("morphs")


def test_the_validator_does_find_faults(asset: FaceAsset, model: FaceModel, tmp_path: Path) -> None:
    data = bytearray(export_glb(asset, model))
    place = len(data) - 200_000
    data[place : place + 4000] = b"\xff" * 4000
    path = tmp_path / "broken.glb"
    path.write_bytes(bytes(data))
    assert validate([path])[0]["issues"]["numErrors"] > 0
