from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
import torch

from facealbedo.core.export.report import (
    FaceRow,
    encode_report,
    encode_summary,
    plain,
    row_of_report,
    safe_cell,
)

NUMBERS = {
    "fit": {"nme_percent": 1.25, "yaw_degrees": np.float32(-12.5), "converged": True},
    "light": {"contrast": float("nan"), "sh": torch.tensor([1.0, float("inf")])},
    "tone": {"ita_group": "tan"},
}


def forbid_constants(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_report_is_strict_json_and_holds_null_for_nan() -> None:
    data = encode_report("a", "p.jpg", NUMBERS, {"albedo.png": "what"}, {"versions": {"x": "1"}})
    content = json.loads(data, parse_constant=forbid_constants)
    assert content["schema"] == "facealbedo.report"
    assert content["schema_version"] == 1
    assert content["numbers"]["light"] == {"contrast": None, "sh": [1.0, None]}
    assert content["numbers"]["fit"] == {"nme_percent": 1.25, "yaw_degrees": -12.5, "converged": True}
    assert content["versions"] == {"x": "1"}
    assert content["licences"]
    assert content["limits"]


def test_report_makes_the_row_again() -> None:
    data = encode_report("face", "p.jpg", NUMBERS, {"albedo.png": "", "preview.jpg": ""}, {})
    row = row_of_report(data, "out/face")
    assert (row.id, row.photo, row.status, row.reason) == ("face", "p.jpg", "done", "")
    assert row.files == {name: f"out/face/{name}" for name in ("albedo.png", "preview.jpg", "report.json")}
    assert row.flat_numbers() == {
        "fit.nme_percent": 1.25,
        "fit.yaw_degrees": -12.5,
        "fit.converged": True,
        "light.contrast": None,
        "tone.ita_group": "tan",
    }


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"schema": "facealbedo.report", "schema_version": 99}'])
def test_foreign_reports_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="version 1"):
        row_of_report(data, "x")


def test_text_that_is_no_unicode_does_not_break_a_report() -> None:
    name = b"caf\xe9.jpg".decode("utf-8", errors="surrogateescape")
    assert json.loads(encode_report(name, name, {}, {}, {}))["id"] == "caf?.jpg"


def test_plain_refuses_what_is_no_number() -> None:
    with pytest.raises(TypeError, match="object"):
        plain({"a": object()})


def test_summary_is_read_back_by_pandas() -> None:
    rows = [
        FaceRow("one", "a, b.jpg", "done", numbers=NUMBERS),
        FaceRow("two", 'quote".jpg', "rejected", "the head is turned\nby 50 degrees", {"fit": {"yaw_degrees": 50.0}}),
    ]
    data = encode_summary(rows)
    table = pd.read_csv(io.BytesIO(data))
    assert list(table.columns[:4]) == ["id", "photo", "status", "reason"]
    assert list(table["photo"]) == ["a, b.jpg", 'quote".jpg']
    assert table["reason"][1] == "the head is turned by 50 degrees"
    assert list(table["fit.yaw_degrees"]) == [-12.5, 50.0]
    assert np.isnan(table["light.contrast"]).all()
    assert "light.sh" not in table
    assert encode_summary(rows) == data


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0"])
def test_formulas_are_disarmed(text: str) -> None:
    assert safe_cell(text).startswith("'")
    line = encode_summary([FaceRow(text, text, "failed", text)]).decode().splitlines()[1]
    assert "'" in line.split(",")[0]


def test_negative_numbers_stay_numbers() -> None:
    assert safe_cell(-1.5) == "-1.5"
    assert safe_cell(-3) == "-3"
    assert safe_cell(None) == ""
    assert safe_cell(True) == "true"
    assert safe_cell(1 / 3) == "0.333333"


def test_summary_of_nothing_has_a_header() -> None:
    assert encode_summary([]) == b"id,photo,status,reason\n"
