"""The small size from a fresh clone with DVC: how long it takes, and what DVC prints, into `docs/howto/dvc.md`.

python -m facealbedo.benchmarks.rerun [FOLDER]

Clones the checkout's last commit to FOLDER (a temporary one if omitted; kept if given), reruns it twice, then tries the
preset `paper`, and writes `docs/benchmarks/rerun_cpu.json` too.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "howto" / "dvc.md"
OUTPUT = ROOT / "docs" / "benchmarks" / "rerun_cpu.json"
METRICS, PLOTS = (f"data/test/08_reporting/train/{name}" for name in ("metrics.json", "history.csv"))
PAPER = "conf/base/parameters_train.yml:train.preset=paper"
# What the page shows, by the name of its place there.
SHOWN = {
    "exp": ("exp", "run", "--name", "paper", "-S", PAPER, "train"),
    "metrics": ("metrics", "diff", "--md", "--targets", METRICS),
    "params": ("params", "diff", "--md"),
    "plots": ("plots", "diff", "--targets", PLOTS),
    "show": ("exp", "list", "--all-commits"),
}
logger = logging.getLogger(__name__)


@dataclass
class Clone:
    """A checkout of its own, with this one's environment."""

    folder: Path
    stages: dict[str, float] = field(default_factory=dict)

    def make(self) -> None:
        """Clone the last commit."""
        _run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], ROOT)
        (self.folder / ".venv").symlink_to(ROOT / ".venv")

    def dvc(self, *arguments: str) -> tuple[str, float]:
        """Run DVC; return what it printed, without places of this machine, and the seconds that it took."""
        started = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "src"), "DVC_NO_ANALYTICS": "1"}
        command = [sys.executable, "-m", "dvc", *arguments]
        lines: list[str] = []
        stage, began = "", started
        with subprocess.Popen(  # noqa: S603
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                found = re.match(r"Running stage '(\w+)'", line)
                if found:
                    now = time.monotonic()
                    self.stages[stage] = round(now - began, 1)
                    stage, began = found[1], now
        self.stages[stage] = round(time.monotonic() - began, 1)
        if process.returncode:
            raise RuntimeError(f"dvc {' '.join(arguments)}: {chr(10).join(lines[-30:])}")
        return "\n".join(lines).replace(str(self.folder), "."), time.monotonic() - started


def main() -> int:
    """Measure, and write the page and the numbers."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as temporary:
        clone = Clone(Path(sys.argv[1] if len(sys.argv) > 1 else temporary) / "facealbedo")
        clone.make()
        report = _measure(clone)
    OUTPUT.write_text(json.dumps(report["numbers"], indent=2) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    for name, block in report["blocks"].items():
        text = filled(text, name, block)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def _measure(clone: Clone) -> dict[str, Any]:
    load, before = os.getloadavg()[0], _cpu_seconds()
    _, first = clone.dvc("repro")
    used = _cpu_seconds() - before
    stages = {name: seconds for name, seconds in clone.stages.items() if name}
    logger.info("first run: %.0f s %s", first, stages)
    again, second = clone.dvc("repro")
    _run(["git", "add", "dvc.lock"], clone.folder)
    identity = ["-c", "user.name=facealbedo", "-c", "user.email=facealbedo@localhost"]
    _run(["git", *identity, "commit", "--quiet", "-m", "Small size"], clone.folder)
    blocks = {"again": _fenced(("repro",), again)}
    for name, arguments in SHOWN.items():
        printed, seconds = clone.dvc(*arguments)
        logger.info("dvc %s: %.0f s", " ".join(arguments), seconds)
        blocks[name] = _block(arguments, printed)
    numbers = {
        "command": "python -m facealbedo.benchmarks.rerun",
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": load},
        "seconds": {"first": round(first), "of_processors": round(used), "second": round(second, 1), "stages": stages},
    }
    where = f"On {os.cpu_count()} cores (load {load:.1f} before)"
    rows = [f"| {name} | {seconds:.0f} |" for name, seconds in stages.items()]
    sentence = (
        f"{where} the first call took {first:.0f} s ({used:.0f} s of one core's time), the second {second:.0f} s."
    )
    blocks["times"] = "\n".join([sentence, "", "| stage | seconds |", "|---|---|", *rows])
    return {"numbers": numbers, "blocks": blocks}


def _block(arguments: tuple[str, ...], printed: str) -> str:
    """Return a command and what it printed; a table in Markdown stays one."""
    lines = [line for line in printed.splitlines() if line.strip()]
    if "--md" in arguments:
        return f"{_fenced(arguments, '')}\n\n" + "\n".join(lines)
    return _fenced(arguments, "\n".join(line for line in lines if not _NOISE.search(line)))


# Lines of the pipelines themselves, and of the files that DVC moves.
_NOISE = re.compile(
    r"^\d\d:\d\d:\d\d |^\d{4}/\d\d|Warning|return Node|color_warning|files? \[|\[\d\d:\d\d|^!|"
    r"^(Building|Committing|Querying)"
)


def _fenced(arguments: tuple[str, ...], printed: str) -> str:
    lines = [f"$ dvc {' '.join(arguments)}", *printed.splitlines()]
    return "\n".join(["```text", *lines, "```"])


def filled(text: str, name: str, block: str) -> str:
    """Return a page with the block between the marks ``<!-- rerun:name -->`` and ``<!-- /rerun:name -->``."""
    start, end = f"<!-- rerun:{name} -->", f"<!-- /rerun:{name} -->"
    before, rest = text.split(start)
    return f"{before}{start}\n\n{block}\n\n{end}{rest.split(end)[1]}"


def _cpu_seconds() -> float:
    """Return what finished children have used of the processors, all together."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
