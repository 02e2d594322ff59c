"""Kedro-Viz as a static site in `build/viz`, with previews, loading nothing from elsewhere and naming no machine path.

python -m facealbedo.viz_site
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

BUILT = Path("build")
TARGET = BUILT / "viz"
# What Kedro-Viz writes into `build`; the rest of that folder is not its own.
PARTS = ("api", "assets", ".vite", "index.html", "favicon.ico")
SPARE = ("404.html", "autoreload.html", "telemetry.html")
# A circle among layers, namespaces counted as one node, makes Kedro-Viz show none of them.
_NO_LAYERS = "Layers visualisation is disabled"
TEXT_SUFFIXES = {".html", ".js", ".css", ".json", ""}
# The browser itself refuses every other address, whatever the scripts try.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'self\' data: blob:; '
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'\">"
)
_ELSEWHERE = re.compile(r"<link\b[^>]*\bhref=[\"']?https?://[^>]*>")


def main() -> int:
    """Build the site below the working directory, which is the project's; return the exit status."""
    command = [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode or _NO_LAYERS in done.stdout + done.stderr:
        sys.stderr.write(done.stdout + done.stderr)
        return done.returncode or 1
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    for name in PARTS:
        if (BUILT / name).exists():
            (BUILT / name).replace(TARGET / name)
    for name in SPARE:
        (BUILT / name).unlink(missing_ok=True)
    scrub(TARGET, Path.cwd())
    return 0


def scrub(site: Path, project: Path) -> None:
    """Make the paths of a site relative to its project, and take out what a browser would load from elsewhere."""
    places = {f"{place}/": "" for place in (project, project.resolve())}
    places |= {str(place): "." for place in (project, project.resolve())}
    places |= {str(Path.home()): "~"}
    for path in site.rglob("*"):
        if not path.is_file() or path.suffix not in TEXT_SUFFIXES:
            continue
        try:
            text = before = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for place, shown in places.items():
            text = text.replace(place, shown)
        if path.suffix == ".html":
            text = _ELSEWHERE.sub("", text).replace("<head>", f"<head>{POLICY}", 1)
        if text != before:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
