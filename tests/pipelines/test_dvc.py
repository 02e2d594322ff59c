"""`dvc.yaml` says what the catalog, the pipelines and the imports say."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines
from kedro.framework.startup import bootstrap_project
from kedro.pipeline import Pipeline

from tests.dvc_code import ROOT, code_of

VARS = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Checkpoints, which DVC would delete if they were outputs.
NO_OUTPUTS = {"06_models/checkpoints"}


def filled(text: str) -> str:
    for name, value in VARS.items():
        text = text.replace(f"${{{name}}}", str(value))
    return text


def places(stage: str, *kinds: str) -> set[str]:
    """Return the paths under these keys of a stage."""
    rows = [row for kind in kinds for row in STAGES[stage].get(kind, [])]
    return {filled(row if isinstance(row, str) else next(iter(row))) for row in rows}


@pytest.fixture(scope="module")
def registered() -> dict[str, Pipeline]:
    bootstrap_project(ROOT)
    configure_project("facealbedo")
    return dict(pipelines)


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """File or folder of each dataset of the catalog, as the stages' environment has it."""
    loader = OmegaConfigLoader(
        str(ROOT / "conf"), base_env="base", default_run_env=VARS["env"], merge_strategy={"parameters": "soft"}
    )
    found = {}
    for name, entry in loader["catalog"].items():
        place = entry.get("filepath") or entry.get("folder")
        if place:
            found[name] = place
    return found


def covered(place: str, by: set[str]) -> bool:
    path = PurePosixPath(place)
    return any(path == PurePosixPath(other) or PurePosixPath(other) in path.parents for other in by)


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_are_those_of_the_pipeline(stage: str, registered: dict, files: dict[str, str]) -> None:
    outputs = {files[name] for name in registered[stage].all_outputs() if name in files}
    outputs = {place for place in outputs if not place.endswith(tuple(NO_OUTPUTS))}
    listed = places(stage, "outs", "metrics", "plots")
    assert {place for place in outputs if not covered(place, listed)} == set()
    assert {place for place in listed if not any(covered(output, {place}) for output in outputs)} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_inputs_are_those_of_the_pipeline(stage: str, registered: dict, files: dict[str, str]) -> None:
    made = {files[name] for name in registered[stage].all_outputs() if name in files}
    inputs = {files[name] for name in registered[stage].inputs() if name in files} - made
    inputs = {place for place in inputs if not place.endswith(tuple(NO_OUTPUTS))}
    data = {
        place for place in places(stage, "deps") if place.startswith((VARS["data"], "docs/", "src/facealbedo/assets/"))
    }
    assert {place for place in inputs if not covered(place, data)} == set()
    # What else a stage reads is named on its command line.
    command = filled(STAGES[stage]["cmd"])
    assert {place for place in data if place not in inputs and place not in command} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_every_input_comes_from_an_earlier_stage_or_is_tracked(stage: str) -> None:
    made = {place for other in STAGES for place in places(other, "outs", "metrics", "plots")}
    for place in places(stage, "deps"):
        assert covered(place, made) or (ROOT / place).exists(), place


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_are_those_of_the_pipeline(stage: str, registered: dict) -> None:
    used = {
        name.removeprefix("params:").split(".")[0] for name in registered[stage].inputs() if name.startswith("params:")
    }
    listed: dict[str, list[str]] = {}
    for row in STAGES[stage]["params"]:
        listed |= row
    assert {name for names in listed.values() for name in names} == used
    for path, names in listed.items():
        assert set(names) <= set(yaml.safe_load((ROOT / path).read_text()))
    assert f"conf/base/catalog_{stage}.yml" in places(stage, "deps")


@pytest.mark.parametrize("stage", STAGES)
def test_code_is_what_the_pipeline_imports(stage: str) -> None:
    """When this fails: `python -m tests.dvc_code` writes the lists anew."""
    listed = sorted(place for place in places(stage, "deps") if place.startswith("src/"))
    data = {"src/facealbedo/assets/face_landmarks.json"}
    assert sorted(set(listed) - data) == code_of(stage)
    assert all((ROOT / place).exists() for place in listed)


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_runs_the_pipeline_of_its_name(stage: str) -> None:
    command = filled(STAGES[stage]["cmd"])
    assert f"--pipelines {stage}" in command
    assert f"--env {VARS['env']}" in command
    assert "DO_NOT_TRACK=1" in command


def test_dvc_itself_reads_the_file_and_sends_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(done.stdout.split()) == sorted(STAGES), done.stderr
    config = configparser.ConfigParser()
    config.read_string("\n".join(line.strip() for line in (ROOT / ".dvc" / "config").read_text().splitlines()))
    assert config["core"]["analytics"] == "false"
    assert [section for section in config.sections() if "remote" in section] == []


def test_what_goes_on_after_a_kill_is_not_deleted_first() -> None:
    """Every folder that has a journal or is one persists."""
    for stage in ("preprocess", "fit", "evaluate", "export"):
        for row in STAGES[stage]["outs"]:
            name = row if isinstance(row, str) else next(iter(row))
            if not Path(name).suffix or name.endswith(".jsonl"):
                assert isinstance(row, dict), name
                assert row[name]["persist"] is True, name
