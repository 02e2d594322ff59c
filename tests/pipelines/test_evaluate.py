"""The evaluate pipeline: wiring, parameters, and every set in the smallest size from path tracing to gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset

from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.datasets.face_folders import FaceFoldersDataset
from facealbedo.datasets.files import BytesDataset
from facealbedo.evaluation import relit as relit_set
from facealbedo.evaluation import runs
from facealbedo.params.evaluate import EvaluateParams, RelitParams, TraceParams
from facealbedo.pipelines.evaluate import create_pipeline

CONF = Path(__file__).resolve().parents[2] / "conf" / "base"
WORK = TraceParams(samples=2, gloss_samples=1)
SETS = ("relit", "geometry", "multilight", "portraits", "fair")


def test_every_dataset_is_in_the_catalog_and_parameters_are_the_defaults() -> None:
    pipeline = create_pipeline()
    catalog = yaml.safe_load((CONF / "catalog_evaluate.yml").read_text())
    assert pipeline.datasets() - {"params:evaluate"} == set(catalog)
    written = yaml.safe_load((CONF / "parameters_evaluate.yml").read_text())["evaluate"]
    assert EvaluateParams.model_validate(written) == EvaluateParams()
    assert written == EvaluateParams().model_dump(mode="json")
    assert {node.namespace for node in pipeline.nodes} == set(SETS)


def catalog_in(folder: Path, params: EvaluateParams, reference: dict[str, object]) -> DataCatalog:
    datasets: dict[str, object] = {
        "params:evaluate": MemoryDataset(params),
        "evaluation_reference": MemoryDataset(reference),
        "relit.people_before": FaceFoldersDataset(filepath=str(folder / "people")),
        "relit.people": FaceFoldersDataset(filepath=str(folder / "people")),
        "relit.gate": JSONDataset(filepath=str(folder / "gate.json")),
    }
    for name in SETS:
        datasets[f"{name}.metrics"] = JSONDataset(filepath=str(folder / name / "metrics.json"))
        datasets[f"{name}.page"] = BytesDataset(filepath=str(folder / name / "index.html"))
        datasets[f"{name}.plot"] = MemoryDataset(copy_mode="assign")
        for part in ("measured", "measured_before"):
            datasets[f"{name}.{part}"] = FaceFoldersDataset(filepath=str(folder / name / "measured"))
    return DataCatalog(datasets)


def test_a_set_with_people_missing_is_not_measured(tmp_path: Path) -> None:
    params = EvaluateParams()
    with pytest.raises(EvaluationError, match=r"relit \(small\) lacks 5 people, first small_001"):
        list(runs.measure_relit(params, {"small_000": tmp_path}, {}))
    with pytest.raises(EvaluationError, match="6 of 6 subjects were not measured, first small_000"):
        runs.report_relit(params, {}, {})
    unknown = EvaluateParams(methods=("magic",))
    with pytest.raises(EvaluationError, match="no method magic; the baselines are texture"):
        list(runs.measure_relit(unknown, {}, {}))
    with pytest.raises(EvaluationError, match="the oracle quotient is not among the methods texture"):
        list(runs.measure_relit(EvaluateParams(methods=("texture",), oracle="quotient"), {}, {}))


@pytest.mark.slow
def test_from_nothing_to_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mitsuba", reason="the path tracer is an optional dependency")
    pytest.importorskip("dlib", reason="the identity network is an optional dependency")
    size = RelitParams(
        people_per_group=1, lights=2, targets=1, photo_px=224, target_px=128, photo_trace=WORK, target_trace=WORK
    )
    params = EvaluateParams(
        size="small",
        relit={"small": size, "full": RelitParams()},
        methods=("texture", "quotient"),
        gated=("quotient",),
        oracle="quotient",
        weights={},
    )
    catalog = catalog_in(tmp_path, params, {})
    SequentialRunner().run(create_pipeline(), catalog)
    metrics = {name: json.loads((tmp_path / name / "metrics.json").read_text()) for name in SETS}
    relit = metrics["relit"]
    assert relit["people"] == 6
    assert relit["photos"] == 12
    assert set(relit["tables"]["fitted"]) == set(relit["tables"]["true"]) == {"texture", "quotient"}
    assert relit["seed"] == size.seed
    assert {name: part["people"] for name, part in relit["strata"].items()} == {"plain": 3, "marked": 3}
    marked = relit["strata"]["marked"]["methods"]
    assert marked["texture"]["mean"]["marks_kept"]["value"] > 0.2
    assert "marks_kept" not in relit["strata"]["plain"]["methods"]["texture"]["mean"]
    assert relit["oracle_of"] == "quotient"
    tables = relit["tables"]["true"]
    assert (
        tables["quotient"]["mean"]["light_correlation"]["value"]
        < tables["texture"]["mean"]["light_correlation"]["value"]
    )
    assert 0.2 < metrics["geometry"]["tables"]["fitted"]["fit"]["mean"]["vertex_mean_mm"]["value"] < 8
    assert metrics["fair"]["status"].startswith("not measured")
    page = (tmp_path / "relit" / "index.html").read_text()
    assert "data:image/png;base64" in page
    assert "data:image/png;base64" in (tmp_path / "portraits" / "index.html").read_text()
    assert json.loads((tmp_path / "gate.json").read_text()) == []

    # Nothing was measured for it, and yet its folder is there: DVC asks for it.
    assert list((tmp_path / "multilight" / "measured").iterdir()) == []

    # A second run path traces and measures nothing again; a reference that was better closes the gate.
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "people").rglob("*.npz")}
    quotient = json.loads(json.dumps(relit["tables"]["fitted"]["quotient"]))
    for name in ("worst_group", "bias"):
        quotient["tone"][name] = {"value": 0.1, "low": 0.0, "high": 0.2}
    of_this_set = {name: relit[name] for name in ("config", "people")}
    better = {"relit": {"small": of_this_set | {"tables": {"fitted": {"quotient": quotient}}}}}
    again = catalog_in(tmp_path, params, better)
    with pytest.raises(EvaluationError, match="worse than the committed reference"):
        SequentialRunner().run(create_pipeline(), again)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "people").rglob("*.npz")} == stamps

    # One method more is measured alone.
    measured: list[list[str]] = []
    whole = relit_set.measure_person

    def noting(lab, folder, methods, oracle):
        measured.append(list(methods))
        return whole(lab, folder, methods, oracle)

    monkeypatch.setattr(relit_set, "measure_person", noting)
    more = params.model_copy(update={"methods": ("texture", "prior", "quotient")})
    nodes = create_pipeline().only_nodes("relit.measure", "relit.report")
    SequentialRunner().run(nodes, catalog_in(tmp_path, more, {}))
    assert measured == [["prior"]] * 6
    both = json.loads((tmp_path / "relit" / "metrics.json").read_text())["tables"]["fitted"]
    assert list(both) == ["texture", "prior", "quotient"]
    assert both["texture"] == relit["tables"]["fitted"]["texture"]
