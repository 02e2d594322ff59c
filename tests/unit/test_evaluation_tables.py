"""README shows the committed numbers, and only those."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from facealbedo.benchmarks.evaluation import SETS, take_over
from facealbedo.benchmarks.evaluation_ablations import ABLATIONS, known_numbers, read_numbers
from facealbedo.benchmarks.evaluation_tables import TEXTS, filled, tables_of
from facealbedo.core.errors import FaceAlbedoError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("place", TEXTS, ids=str)
def test_tables_are_what_the_command_writes(place: Path) -> None:
    reference = json.loads((REPOSITORY / "docs" / "benchmarks" / "evaluation_reference.json").read_text())
    text = (REPOSITORY / place).read_text(encoding="utf-8")
    assert filled(text, reference, known_numbers(REPOSITORY / ABLATIONS)) == text
    for name in SETS:
        assert f"<!-- evaluation:{name} -->" in text


def ablation_numbers() -> dict[str, object]:
    def row(name: str, each: list[float]) -> dict[str, object]:
        spread = max(each) - min(each) if len(each) > 1 else None
        mean = sum(each) / len(each)
        value = {"fabricated.delta_e_aligned": {"mean": mean, "spread": spread, "each": each}}
        difference = {"fabricated.delta_e_aligned": mean - 1.5}
        return {"name": name, "about": "", "seeds": list(range(len(each))), "values": value, "difference": difference}

    budget = {"steps": 1500, "faces_seen": 48000, "batch_size": 32, "resolution": 256}
    rows = [row("full", [1.4, 1.6]), row("no_symmetry", [2.123456])]
    baselines = {"prior": {"fabricated.delta_e_aligned": 2.5}}
    return {"budget": budget, "data": "abc", "rows": rows, "baselines": baselines, "more": 1}


def test_ablations_are_taken_over_and_shown(tmp_path: Path) -> None:
    text = "<!-- evaluation:ablations -->\n<!-- /evaluation:ablations -->"
    assert "Not measured yet." in filled(text, {})
    assert known_numbers(tmp_path / "nothing.json") is None
    file = tmp_path / "metrics.json"
    with pytest.raises(FaceAlbedoError, match="run `kedro run --pipelines ablate"):
        read_numbers(file)
    file.write_text("{")
    with pytest.raises(FaceAlbedoError, match="is no JSON"):
        read_numbers(file)
    file.write_text(json.dumps(ablation_numbers() | {"rows": []}))
    with pytest.raises(FaceAlbedoError, match="lacks rows"):
        read_numbers(file)
    file.write_text(json.dumps(ablation_numbers()))
    numbers = read_numbers(file)
    assert "more" not in numbers
    written = filled(text, {}, numbers)
    assert "| full |  | 2 | 1.50 [0.20] |" in written
    assert "| no_symmetry |  | 1 | 2.12 |" in written
    assert "| prior | not trained |  | 2.50 |" in written


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


def test_what_the_truth_scores_stands_below_the_methods() -> None:
    def row(**values: float) -> dict[str, object]:
        return {"mean": {name: {"value": value, "low": value, "high": value} for name, value in values.items()}}

    names = ("light_correlation", "feature_detail_kept", "skin_detail_kept")
    truth = dict(zip((f"{name}_of_truth" for name in names), (0.141, 0.53, 0.5), strict=True))
    methods = {
        "prior": row(**dict(zip(names, (0.18, 0.04, 0.02), strict=True)), **truth),
        "default": row(**dict(zip(names, (0.21, 0.43, 0.37), strict=True)), **truth),
    }
    written = tables_of("relit_without_truth", {"relit": {"full": {"tables": {"true": methods}}}}).splitlines()
    assert written[-1].startswith("| the true albedo | 0.141 (0.141-0.141) | 0.53 (0.53-0.53) | 0.50")
    assert [line.split(" | ")[0] for line in written[2:4]] == ["| `prior`", "| `default`"]
    older = {name: row(**dict.fromkeys(names, 0.2)) for name in methods}
    assert "true albedo" not in tables_of("relit_without_truth", {"relit": {"full": {"tables": {"true": older}}}})


def test_nothing_measured_and_unknown_sets(tmp_path: Path) -> None:
    assert tables_of("relit", {}) == "Not measured yet.\n"
    with pytest.raises(FaceAlbedoError, match="there are no metrics"):
        take_over(tmp_path, {})
    with pytest.raises(FaceAlbedoError, match="no benchmark set 'magic'"):
        filled("<!-- evaluation:magic -->\n<!-- /evaluation:magic -->", {})
