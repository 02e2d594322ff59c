from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from facealbedo.fabricated import fabricated_portrait
from facealbedo.params.prepare import FitParams, PreprocessParams
from facealbedo.preparation import faces_table, find_faces, fit_crops, fits_table

Prepared = tuple[pd.DataFrame, pd.DataFrame, dict[str, Path]]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Four fabricated portraits, cut out and fitted as the pipelines do."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(4):
        (folder / f"person_{seed}.png").write_bytes(fabricated_portrait(seed))
    params = PreprocessParams(photos=str(folder), crop_px=128)
    crops: dict[str, Path] = {}
    journal: list[dict[str, Any]] = []
    for found in find_faces(params, []):
        for name, content in found.crops.items():
            crops[name] = folder.with_name(f"{name}.jpg")
            crops[name].write_bytes(content)
        journal += found.entries
    faces = faces_table(params, journal)
    fitted = [entry for entries in fit_crops(FitParams(), faces, crops, []) for entry in entries]
    return fits_table(faces, fitted), faces, crops
