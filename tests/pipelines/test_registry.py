"""The Kedro project as a whole: light to import, complete catalog, valid parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines
from kedro.framework.startup import bootstrap_project

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registered() -> dict[str, object]:
    bootstrap_project(REPOSITORY)
    configure_project("facealbedo")
    return dict(pipelines)


def test_importing_the_registry_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from kedro.framework.project import configure_project, pipelines\n"
        "configure_project('facealbedo')\n"
        "names = sorted(pipelines)\n"
        "heavy = sorted(set(sys.modules) & {'torch', 'cv2', 'mediapipe', 'numba', 'mlflow.pyfunc'})\n"
        "print(names, heavy)\n"
        "sys.exit(bool({'torch', 'cv2', 'mediapipe', 'numba'} & set(heavy)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reconstruct" in done.stdout


def test_plain_run_reconstructs(registered: dict) -> None:
    assert registered["__default__"].nodes == registered["reconstruct"].nodes


def test_every_dataset_has_a_catalog_entry_and_every_node_a_name(registered: dict) -> None:
    loader = OmegaConfigLoader(str(REPOSITORY / "conf"), base_env="base", default_run_env="local")
    catalog = set(loader["catalog"])
    for name, pipeline in registered.items():
        used = {data for data in pipeline.datasets() if not data.startswith("params:")}
        outer = (used & pipeline.inputs()) | (used & pipeline.outputs())
        assert outer <= catalog, (name, outer - catalog)
        assert all(node._name for node in pipeline.nodes), name


def test_parameters_in_yaml_are_the_models_defaults() -> None:
    """Whoever reads either sees the same values."""
    from facealbedo.params.pigment import PigmentParams
    from facealbedo.params.reconstruct import ReconstructParams
    from facealbedo.params.tone import ToneParams

    loader = OmegaConfigLoader(str(REPOSITORY / "conf"), base_env="base", default_run_env="local")
    parameters = loader["parameters"]
    assert ReconstructParams.model_validate(parameters["reconstruct"]) == ReconstructParams()
    assert ToneParams.model_validate(parameters["tone"]) == ToneParams()
    assert PigmentParams.model_validate(parameters["pigment"]) == PigmentParams()
