"""The notebooks run from top to bottom, and are committed without outputs and without logic of their own."""

from __future__ import annotations

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def test_there_are_three() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"quickstart", "reading_a_benchmark", "training_on_your_photos"}


def test_no_outputs_and_no_logic(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            nodes = ast.walk(ast.parse(cell.source))
            assert not [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]


# Runs the cells as a notebook's kernel would, in a process of its own; nothing but IPython is needed.
RUN = """
import sys
import nbformat
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
cells = [cell.source for cell in nbformat.read(sys.argv[1], as_version=4).cells if cell.cell_type == "code"]
for source in cells:
    shell.run_cell(source, store_history=True).raise_error()
assert shell.execution_count == len(cells) + 1
assert shell.user_ns["_"] is not None
"""


# What a reader waits at most; counted in the time of one core, for other work on the machine is not the notebook's.
LONGEST_S = 60


def processor_seconds() -> float:
    """Return what finished children of this process have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "IPYTHONDIR": str(tmp_path)}
    call = [sys.executable, "-c", RUN, str(path)]
    before = processor_seconds()
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert processor_seconds() - before < LONGEST_S
