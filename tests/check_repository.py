"""Checks of the tracked files as a whole, run by `make lint`: no machine paths, no download hosts, no large files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT_BYTES = 30 * 2**20
# A path of somebody's machine, or an address of a package registry, must not travel with the project.
FORBIDDEN = re.compile(
    r"(?<![\w.])/(home|root|Users|work)/[\w.-]+/|files\.pythonhosted\.org|registry\.npmjs\.org|--index-url"
)


def tracked_files() -> list[Path]:
    """Return every file that git tracks."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def problems(files: list[Path]) -> list[str]:
    """Return one line for each thing that is wrong."""
    found: list[str] = []
    for path in files:
        name = path.relative_to(ROOT)
        if path.stat().st_size > LIMIT_BYTES:
            found.append(f"{name}: larger than {LIMIT_BYTES >> 20} MiB")
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if FORBIDDEN.search(line):
                found.append(f"{name}:{number}: names a machine path or a registry host")
    return found


def main() -> int:
    """Print the problems; return the exit status."""
    found = problems(tracked_files())
    for line in found:
        sys.stdout.write(line + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
