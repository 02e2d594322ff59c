"""The picture of README: two trainings compared in MLflow's own pages, in a real browser.

python -m tests.mlflow_picture [STORE.db]

Takes the newest finished training of each preset. Needs Chromium, Node.js and playwright-core in tests/node.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities import Run

ROOT = Path(__file__).resolve().parents[1]
NODE = ROOT / "tests" / "node"
PICTURE = ROOT / "docs" / "images" / "mlflow_compare.png"
_START_S = 180


def browser() -> str | None:
    """Return Chromium's place, if everything that drives it is there."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    ready = shutil.which("node") and (NODE / "node_modules" / "playwright-core").is_dir()
    return found if ready else None


@contextmanager
def served(store: Path) -> Iterator[str]:
    """Serve MLflow's pages on this machine alone; yield their address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = ["mlflow", "ui", "--backend-store-uri", f"sqlite:///{store}", "--host", "127.0.0.1"]
    call = [sys.executable, "-m", *call, "--port", str(port), "--workers", "1"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(call, cwd=store.parent, stdout=quiet, stderr=quiet, start_new_session=True) as server:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # MLflow starts workers of its own


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"MLflow's pages were not up after {_START_S} s")


def newest_of_each_preset(store: Path) -> list[Run]:
    """Return the newest finished training of each preset, `default` first."""
    client = mlflow.MlflowClient(f"sqlite:///{store}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    runs = client.search_runs(experiments, "tags.pipeline = 'train' and status = 'FINISHED'", order_by=order)
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault(run.data.params["train.preset"], run)
    return [found[preset] for preset in sorted(found)]


def compare(store: Path, runs: list[Run], picture: Path | None = None) -> dict[str, list[str] | str]:
    """Open the comparison of two runs; return its text and the other machines that the page asked."""
    chromium = browser()
    if chromium is None:
        raise FileNotFoundError("needs Chromium, Node.js and playwright-core in tests/node")
    with served(store) as address:
        call = ["node", "mlflow.mjs", chromium, address, runs[0].info.experiment_id, *(run.info.run_id for run in runs)]
        call += [str(picture)] if picture else []
        done = subprocess.run(call, cwd=NODE, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout)


def main() -> int:
    """Take the picture."""
    store = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "mlflow.db").resolve()
    compare(store, newest_of_each_preset(store), PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
