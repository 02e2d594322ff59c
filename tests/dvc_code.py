"""The code that each pipeline imports, as the paths that its stage in `dvc.yaml` depends on.

python -m tests.dvc_code        rewrites the code dependencies of every stage
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import grimp
import yaml

ROOT = Path(__file__).resolve().parents[1]
DVC_FILE = ROOT / "dvc.yaml"
# Folders that count as one: their parts are used together, or by every pipeline.
WHOLE = ("assets", "datasets", "dataloading", "evaluation")


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph("facealbedo")


def code_of(pipeline: str) -> list[str]:
    """Return what a pipeline imports, directly or not: its folder, packages of core, and modules, sorted."""
    module = f"facealbedo.pipelines.{pipeline}"
    upstream = _graph().find_upstream_modules(module, as_package=True)
    # The registry and Kedro's hooks load every pipeline and decide no result.
    return sorted({f"src/facealbedo/pipelines/{pipeline}"} | {_place(name) for name in upstream} - {""})


def _place(module: str) -> str:
    parts = module.split(".")[1:]
    if not parts or parts[0] in {"hooks", "settings", "pipeline_registry", "pipelines"} or parts == ["core"]:
        return ""
    keep = 1 if parts[0] in WHOLE else 2
    path = Path("src/facealbedo").joinpath(*parts[:keep])
    if (ROOT / path).is_dir():
        return "" if parts == ["params"] else path.as_posix()
    return path.with_suffix(".py").as_posix()


def main() -> None:
    """Bring the code dependencies in `dvc.yaml` up to date; everything else stays as it is written."""
    lines = DVC_FILE.read_text().splitlines()
    for pipeline in yaml.safe_load("\n".join(lines))["stages"]:
        start = lines.index(f"  {pipeline}:")
        first = next(index for index in range(start, len(lines)) if lines[index] == "    deps:") + 1
        last = first
        while lines[last].startswith("      - "):
            last += 1
        kept = [line for line in lines[first:last] if not line.startswith("      - src/") or line.endswith(".json")]
        lines[first:last] = [f"      - {path}" for path in code_of(pipeline)] + kept
    DVC_FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
