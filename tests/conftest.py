"""Shared fixtures; switches on shape and type checks of every function in `facealbedo.core`."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("DO_NOT_TRACK", "1")

import sys
import types

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# As in PEP 484, an int will do where a float is asked for. The hook wants its checker by name.
_checker = types.ModuleType("facealbedo_type_checker")
_checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
sys.modules[_checker.__name__] = _checker
install_import_hook("facealbedo.core", f"{_checker.__name__}.check")

import pytest  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with a reason, what this machine cannot run."""
    import torch

    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if "shared" in item.keywords and not SHARED_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="needs the development photos beside the checkout"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of development photos; only for tests marked ``shared``."""
    return SHARED_DATA
