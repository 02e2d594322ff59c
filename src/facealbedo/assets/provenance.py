"""What a result was computed with: hashes of the embedded models, versions, and the commit of a checkout."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import facealbedo
from facealbedo.assets import FACE_MODEL_FILE
from facealbedo.assets.occlusion import OCCLUSION_FILE
from facealbedo.assets.pigment import PIGMENT_FILE
from facealbedo.assets.prior import ALBEDO_PRIOR_FILE
from facealbedo.assets.refiner import REFINER_FILE
from facealbedo.assets.tone import TONE_FILE

# Packages whose versions may change results.
PACKAGES = ("face-alignment", "mediapipe", "numba", "numpy", "opencv-contrib-python-headless", "pillow", "safetensors",
            "scipy", "torch")  # fmt: skip
MODEL_LICENCES = {
    FACE_MODEL_FILE: "CC0-1.0",
    ALBEDO_PRIOR_FILE: "Apache-2.0",
    OCCLUSION_FILE: "CC0-1.0",
    TONE_FILE: "Apache-2.0",
    PIGMENT_FILE: "Apache-2.0",
    REFINER_FILE: "Apache-2.0",
}
_GIT_TIMEOUT_S = 10


@lru_cache(maxsize=1)
def embedded_models() -> dict[str, dict[str, str]]:
    """Return SHA-256 and licence of each embedded file that a reconstruction reads."""
    return {
        name: {"sha256": hashlib.sha256((files("facealbedo.assets") / name).read_bytes()).hexdigest(), "licence": terms}
        for name, terms in MODEL_LICENCES.items()
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str | None]:
    """Return the versions of facealbedo, Python and the packages that compute; None for one that is not installed."""
    found: dict[str, str | None] = {"facealbedo": facealbedo.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


@lru_cache(maxsize=1)
def checkout() -> dict[str, Any] | None:
    """Return commit and whether the package differs from it, when it runs from a git checkout; else None."""
    package = Path(facealbedo.__file__).resolve().parent
    root = package.parents[1]
    if not ((root / ".git").exists() and (root / "pyproject.toml").is_file()):
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", str(package))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "modified": bool(changed)}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S)  # noqa: S603
    return done.stdout.strip()
