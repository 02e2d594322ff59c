"""README shows the committed numbers, and only those."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facealbedo.benchmarks.evaluation import SETS, take_over
from facealbedo.benchmarks.evaluation_tables import filled, tables_of
from facealbedo.core.errors import FaceAlbedoError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_readme_is_what_the_command_writes() -> None:
    reference = json.loads((REPOSITORY / "docs" / "benchmarks" / "evaluation_reference.json").read_text())
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert filled(text, reference) == text
    for name in SETS:
        assert f"<!-- evaluation:{name} -->" in text


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.12345, "high": value + 0.12345}


def measured(folder: Path, size: str, value: float) -> None:
    (folder / "geometry").mkdir(parents=True, exist_ok=True)
    table = {
        "fit": {
            "mean": {"vertex_mean_mm": interval(value), "vertex_median_mm": interval(1), "vertex_p90_mm": interval(3)}
        }
    }
    metrics = {
        "set": "geometry",
        "size": size,
        "people": 6,
        "photos": 12,
        "not_reconstructed": [{"person": "a", "photo": 0, "reason": "no face was found"}],
        "tables": {"fitted": table},
    }
    (folder / "geometry" / "metrics.json").write_text(json.dumps(metrics))


def test_numbers_are_taken_over_and_the_larger_set_is_shown(tmp_path: Path) -> None:
    measured(tmp_path, "small", 2.0)
    small = take_over(tmp_path, {})
    assert "2.00 (1.88-2.12)" in tables_of("geometry", small)
    measured(tmp_path, "full", 1.5)
    both = take_over(tmp_path, small)
    assert set(both["geometry"]) == {"small", "full"}
    text = "before\n<!-- evaluation:geometry -->\nold\n<!-- /evaluation:geometry -->\nafter\n"
    written = filled(text, both)
    assert "`geometry`, full: 6 people, 12 photos, 1 not reconstructed" in written
    assert "1.50 (1.38-1.62)" in written
    assert "old" not in written
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert filled(written, both) == written


def test_nothing_measured_and_unknown_sets(tmp_path: Path) -> None:
    assert tables_of("relit", {}) == "Not measured yet.\n"
    with pytest.raises(FaceAlbedoError, match="there are no metrics"):
        take_over(tmp_path, {})
    with pytest.raises(FaceAlbedoError, match="no benchmark set 'magic'"):
        filled("<!-- evaluation:magic -->\n<!-- /evaluation:magic -->", {})
