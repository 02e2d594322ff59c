"""The set `multilight`: one face, many lights; albedo is the face's own, so it must not change with the light."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from facealbedo.core.evaluate.methods import Method
from facealbedo.core.evaluate.pictures import side_by_side
from facealbedo.core.evaluate.summary import summarise
from facealbedo.core.metrics.albedo import albedo_spread, spread_over_lights
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.dataloading.photos import list_photos
from facealbedo.evaluation.relit import fitted_faces
from facealbedo.evaluation.reports import outcome
from facealbedo.evaluation.subjects import SCORE_PX, Laboratory

KEPT_PX = 64
# Extended Yale B: one picture without any lamp a person, in which nothing is to be seen.
_UNLIT = "ambient"


@dataclass(frozen=True)
class PersonFolder:
    """Photos of one person in different lights."""

    name: str
    photos: tuple[Path, ...]


def list_people(place: Path) -> list[PersonFolder]:
    """Return the folders of a set in the style of Extended Yale B: a folder a person, a photo a light.

    Raises:
        EvaluationError: no folder, or a person with fewer than two photos.
    """
    if not place.is_dir():
        raise EvaluationError(f"there is no folder {place}; it should hold one folder of photos for each person")
    people = []
    for folder in sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")):
        photos = tuple(photo.path for photo in list_photos(folder) if _UNLIT not in photo.name.lower())
        if len(photos) < 2:
            raise EvaluationError(f"{folder} has {len(photos)} photos; a spread over lights needs two or more")
        people.append(PersonFolder(folder.name, photos))
    if len(people) < 2:
        raise EvaluationError(f"{place} has {len(people)} folders of people; the spread over people needs two or more")
    return people


@torch.no_grad()
def measure_people(
    lab: Laboratory, people: Sequence[PersonFolder], methods: Mapping[str, Method]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Measure one person after the other.

    Yields:
        Name and files: the spread over lights, the mean map of each method, and pictures.
    """
    for person in people:
        faces = fitted_faces(lab, [path.read_bytes() for path in person.photos])
        report: dict[str, Any] = {"photos": len(person.photos), "done": len(faces), "spread": {}}
        maps: dict[str, np.ndarray] = {}
        pictures = []
        for name, method in methods.items():
            albedo = torch.cat([method(face).uv_albedo for face in faces]) if faces else torch.zeros(0)
            if len(albedo) < 2:
                continue
            report["spread"][name] = spread_over_lights(albedo, lab.score_maps.face, lab.score_maps.core)
            maps[name] = F.avg_pool2d(albedo.mean(0, keepdim=True), SCORE_PX // KEPT_PX)[0].half().numpy()
            pictures += [albedo[index : index + 1] * (lab.score_maps.face > 0.02) for index in range(2)]
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **maps)  # type: ignore[arg-type]
        files = {"report.json": json.dumps(report, indent=1).encode(), "maps.npz": buffer.getvalue()}
        yield person.name, files | ({"relit.png": side_by_side(pictures)} if pictures else {})


def multilight_metrics(measured: Mapping[str, Path], lab: Laboratory, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spread over lights and its ratio to the spread over people, a method each.

    Raises:
        EvaluationError: fewer than two people with two reconstructed photos each.
    """
    reports = {name: json.loads((folder / "report.json").read_text()) for name, folder in sorted(measured.items())}
    usable = [name for name, report in reports.items() if report["spread"]]
    if len(usable) < 2:
        raise EvaluationError(f"only {len(usable)} people have two reconstructed photos; two or more are needed")
    face = F.avg_pool2d(lab.score_maps.face, SCORE_PX // KEPT_PX)
    tables = {}
    people_spread = {}
    for method in reports[usable[0]]["spread"]:
        means = torch.cat([_mean_map(measured[name], method) for name in usable])
        between = albedo_spread(means, face)
        people_spread[method] = between
        rows = [
            {"person": name, **values, "relative_spread": values["spread"] / between}
            for name in usable
            for values in [reports[name]["spread"][method]]
        ]
        tables[method] = summarise(rows, False)
    rows_of_photos = [row for name, report in reports.items() for row in _photo_rows(name, report)]
    return {
        "set": "multilight",
        **facts,
        **outcome(rows_of_photos),
        "spread_over_people": people_spread,
        "tables": {"fitted": tables},
    }


def _photo_rows(name: str, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a photo, of people of `relit` (which have rows already) and of folders."""
    if "rows" in report:
        return list(report["rows"])
    return [
        {
            "person": name,
            "photo": index,
            "status": "done" if index < report["done"] else "rejected",
            "reason": "not reconstructed",
        }
        for index in range(report["photos"])
    ]


def _mean_map(folder: Path, method: str) -> torch.Tensor:
    with np.load(folder / "maps.npz", allow_pickle=False) as maps:
        return torch.from_numpy(maps[method]).float()[None]
