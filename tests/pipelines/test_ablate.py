"""The ablate pipeline: parameters, plan, table, and the whole way in small with MLflow's parent and children."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from kedro.config import OmegaConfigLoader
from pydantic import ValidationError

from facealbedo import ablation, training
from facealbedo.ablation import Data, Record, collect, over_seeds, plan, run_all, table, table_text
from facealbedo.benchmarks.train import load_params
from facealbedo.configuration import CONFIG_LOADER_ARGS
from facealbedo.core.train.config import TrainingError
from facealbedo.params.ablate import AblateParams, AblationParams
from facealbedo.pipelines.ablate import create_pipeline
from facealbedo.pipelines.ablate.nodes import run_ablations, tabulate_ablations

CONF = Path(__file__).resolve().parents[2] / "conf"


def load_ablate(env: str) -> AblateParams:
    loader = OmegaConfigLoader(conf_source=str(CONF), env=env, **CONFIG_LOADER_ARGS)
    return AblateParams.model_validate(loader["parameters"]["ablate"])


def test_every_dataset_is_in_the_catalog():
    catalog = yaml.safe_load((CONF / "base" / "catalog_ablate.yml").read_text())
    theirs = {"params:ablate", "params:train", "fits", "faces", "face_crops", "train_checkpoints"}
    assert create_pipeline().datasets() - theirs == {name for name in catalog if not name.startswith("_")}


@pytest.mark.parametrize("env", ["base", "test", "gpu"], ids=["base", "test", "for_one_gpu"])
def test_every_row_is_a_training_of_its_own_under_the_same_budget(env, tmp_path):
    params, train = load_ablate(env), load_params(env)
    planned = plan(params, train)
    configs = [training.train_config(one.params) for one in planned]
    assert len({config.fingerprint() for config in configs}) == len(planned)
    assert {(c.steps, c.batch_size, c.resolution) for c in configs} == {
        (params.steps, params.batch_size, train.trainer.resolution)
    }
    assert {one.measured.trainer.seed for one in planned} == {params.seed}
    assert all(config.checkpoint_every > 0 for config in configs)


def test_the_list_is_complete_and_its_ends_have_seeds():
    rows = {row.name: row for row in load_ablate("base").rows}
    wanted = {
        "full", "no_illumination_map", "no_white_light", "no_global_light", "no_prior_terms", "no_symmetry",
        "no_chroma", "no_pigment", "perceptual", "no_fabricated", "no_gain", "paper_zeros", "paper",
    }  # fmt: skip
    assert wanted <= set(rows)
    first, *_, last = rows.values()
    assert (first.name, last.name) == ("full", "paper")
    assert first.seeds >= 2
    assert last.seeds >= 2


def test_a_change_leaves_what_it_does_not_name():
    train = load_params("base")
    row = AblationParams(name="x", about="y", preset="paper", change={"weights": {"chroma": 0.0}})
    mine = AblateParams(steps=7, rows=(row,)).training(row, train, seed=3)
    paper = train.presets["paper"]
    expected = paper.model_copy(update={"weights": paper.weights.model_copy(update={"chroma": 0.0})})
    assert mine.chosen == expected
    assert mine.chosen != paper
    assert (mine.trainer.steps, mine.trainer.seed) == (7, 3)
    assert train.presets["paper"].weights.chroma == 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": []},
        {"steps": 0},
        {"step": 5},
        {"rows": [{"name": "A B", "about": "x"}]},
        {"rows": [{"name": "a", "about": "x"}, {"name": "a", "about": "y"}]},
        {"rows": [{"name": "a", "about": "x", "seeds": 0}]},
        {"rows": [{"name": "a", "about": "x", "change": {"weights": {"chromas": 0}}}]},
        {"rows": [{"name": "a", "about": "x", "change": {"weights": {"chroma": -1}}}]},
        {"rows": [{"name": "a", "about": "x", "change": {"fabricated_share": 1.5}}]},
        {"rows": [{"name": "a", "about": "x", "change": {"network": {"unseen": "ones"}}}]},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValidationError):
        AblateParams.model_validate({"rows": [{"name": "full", "about": "x"}]} | wrong)


def test_an_unknown_preset_is_named():
    params = AblateParams(rows=(AblationParams(name="a", about="x", preset="other"),))
    with pytest.raises(TrainingError, match="'other'; there are default, paper"):
        plan(params, load_params("base"))


def test_means_and_spreads_are_those_of_numpy():
    each = np.array([[3.0, 0.5], [4.5, 0.25], [3.75, 0.75]])
    found = over_seeds([{"a": float(a), "b": float(b)} for a, b in each])
    assert [found[name]["mean"] for name in "ab"] == pytest.approx(each.mean(0))
    assert [found[name]["spread"] for name in "ab"] == pytest.approx(np.ptp(each, axis=0))
    assert over_seeds([{"a": 1.0, "b": 2.0}])["a"]["spread"] is None
    assert set(over_seeds([{"a": 1.0, "b": 2.0}, {"a": 1.0}])) == {"a"}


def test_the_table_says_what_is_beyond_the_spread(tmp_path):
    row = [AblationParams(name=name, about="x", seeds=seeds) for name, seeds in (("full", 2), ("near", 1), ("far", 1))]
    planned = plan(AblateParams(rows=tuple(row)), load_params("base"))
    psnr = {"full-0": 30.0, "full-1": 31.0, "near-0": 30.0, "far-0": 28.0}
    records = {}
    for one in planned:
        record = Record(
            one.name, "", one.seed, 5, 20, "", {"photos.psnr": psnr[one.name]}, {"prior": {"photos.psnr": 19.0}}
        )
        records[one.name] = tmp_path / one.name
        records[one.name].write_bytes(record.to_json())
    numbers = collect(planned, records)
    assert [r["difference"]["photos.psnr"] for r in numbers["rows"]] == [0.0, -0.5, -2.5]
    lines = table_text(numbers).splitlines()
    assert "| full | x | 2 | 30.50 [1.00] |" in lines
    assert "| near | x | 1 | 30.00 ≈ |" in lines
    assert "| far | x | 1 | 28.00 |" in lines
    assert "| prior | not trained |  | 19.00 |" in lines
    frame = table(numbers).set_index("name")
    assert frame.loc["full", "photos.psnr.spread"] == 1.0
    assert frame.loc["prior", "photos.psnr"] == 19.0
    with pytest.raises(TrainingError, match="1 of 4 trainings have no record, first far-0"):
        collect(planned, {name: path for name, path in records.items() if name != "far-0"})


@pytest.mark.slow
def test_the_whole_way_has_a_parent_and_children_and_goes_on_where_it_stopped(prepared, tmp_path, monkeypatch):
    params, train = load_ablate("test"), load_params("test")
    first, *others = params.rows
    params = params.model_copy(update={"rows": (first.model_copy(update={"seeds": 2}), *others)})
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.set_experiment("ablate").experiment_id
    checkpoints, folder = tmp_path / "checkpoints", tmp_path / "runs"
    checkpoints.mkdir()
    folder.mkdir()

    def run(limit: int | None = None) -> dict[str, Path]:
        before = {path.stem: path for path in folder.iterdir()}
        for number, part in enumerate(run_ablations(params, train, *prepared, checkpoints, before), 1):
            for name, content in part.items():
                (folder / f"{name}.json").write_bytes(content)
            if number == limit:
                break
        return {path.stem: path for path in folder.iterdir()}

    # Stopped after the second of four.
    assert sorted(run(limit=2)) == ["full-0", "full-1"]
    trained = []
    monkeypatch.setattr(
        ablation, "run_training", lambda job, log: trained.append(job.params.preset) or training.run_training(job, log)
    )
    with mlflow.start_run() as parent:
        records = run()
        numbers, frame, text = tabulate_ablations(params, train, records)
    assert trained == ["no_illumination_map", "paper_zeros"]
    assert list(frame["name"]) == [
        "full", "no_illumination_map", "paper_zeros", "prior", "quotient", "separation"
    ]  # fmt: skip
    full = numbers["rows"][0]["values"]["fabricated.delta_e"]
    assert len(set(full["each"])) == 2
    assert full["spread"] == pytest.approx(abs(full["each"][0] - full["each"][1]))
    assert numbers["budget"]["steps"] == params.steps
    assert "| no_illumination_map |" in text
    json.dumps(numbers, allow_nan=False)
    # All were measured on the same faces: what is not trained comes out the same.
    found = [json.loads(path.read_text()) for path in records.values()]
    assert all(one["baselines"] == found[0]["baselines"] for one in found)

    children = mlflow.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{parent.info.run_id}'", output_format="list"
    )
    assert {child.info.run_name for child in children} == set(records)
    for child in children:
        expected = json.loads(records[child.info.run_name].read_text())["metrics"]["fabricated.delta_e"]
        assert child.data.metrics["final/fabricated.delta_e"] == pytest.approx(expected)

    # Other faces to measure on, the same training: measured again from its checkpoint.
    fewer = train.model_copy(update={"validation": train.validation.model_copy(update={"fabricated_faces": 7})})
    one = plan(params, fewer)[0]
    fits, faces, crops = prepared
    before = {path.name: path.read_bytes() for path in checkpoints.glob("*.safetensors")}
    (again,) = run_all([one], Data(fits, faces, crops, checkpoints), records)
    assert json.loads(again["full-0"])["key"] != json.loads(records["full-0"].read_text())["key"]
    assert {path.name: path.read_bytes() for path in checkpoints.glob("*.safetensors")} == before
