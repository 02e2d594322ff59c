"""The albedo_prior pipeline: wiring, its parameters, and its nodes on a small atlas."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from facealbedo.assets import FACE_MODEL_FILE
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.params.albedo_prior import AlbedoPriorParams
from facealbedo.pipelines.albedo_prior import create_pipeline
from facealbedo.pipelines.albedo_prior.nodes import build_prior, draw_sheet

CONF = Path(__file__).resolve().parents[2] / "conf" / "base"


def test_wiring_and_parameters() -> None:
    pipeline = create_pipeline()
    catalog = yaml.safe_load((CONF / "catalog_albedo_prior.yml").read_text())
    assert pipeline.inputs() | pipeline.outputs() | {"albedo_prior"} == {*catalog, "params:albedo_prior"}
    written = yaml.safe_load((CONF / "parameters_albedo_prior.yml").read_text())["albedo_prior"]
    assert written == AlbedoPriorParams().model_dump()
    with pytest.raises(ValidationError):
        AlbedoPriorParams(resolution=65)


def test_nodes_on_a_small_atlas() -> None:
    params = AlbedoPriorParams(resolution=64, n_noise=4, n_levels=600)
    built = build_prior(params, (files("facealbedo.assets") / FACE_MODEL_FILE).read_bytes())
    prior = AlbedoPrior.from_bytes(built)
    assert prior.resolution == 64
    assert set(prior.provenance) == {"surface", "config"}
    sheet = np.asarray(Image.open(io.BytesIO(draw_sheet(params, built)))).astype(float)
    assert sheet.shape == (6 * 64, 12 * 64, 3)
    # Groups run from light to dark, above in the linear rows and below in the detailed ones.
    rows = sheet[..., 1].reshape(6, 64, 12, 64).mean((1, 3))
    assert rows[0].mean() > rows[1].mean() > rows[2].mean()
    assert rows[3].mean() > rows[4].mean() > rows[5].mean()
