"""The set `relit`, measured: fabricated people against an independent renderer's truth."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.evaluate.methods import FittedFace, Method, Separation
from facealbedo.core.evaluate.pictures import join_columns, method_column, truth_column
from facealbedo.core.evaluate.relit_files import (
    config_hash,
    person_from_files,
    person_to_files,
    read_report,
)
from facealbedo.core.evaluate.relit_score import (
    Target,
    at_resolution,
    light_strength_factor,
    prepare_targets,
    score_albedo,
    scores_of_truth,
    true_uv_shading,
)
from facealbedo.core.evaluate.relit_set import RelitConfig, RelitPerson, make_person
from facealbedo.core.metrics.albedo import spread_over_lights
from facealbedo.core.metrics.geometry import vertex_error_mm
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.evaluation.subjects import SCORE_PX, Laboratory, code_hash
from facealbedo.fabricated import load_studio
from facealbedo.reconstructor import Reconstruction

Rows = list[dict[str, Any]]
# Mean maps are kept this small: enough for how far people differ.
_KEPT_PX = 64
_TRUTH_COLUMN = "column.png"


def person_id(size: str, number: int) -> str:
    """Return the folder name of a person of one size of the set."""
    return f"{size}_{number:03d}"


def make_missing_people(
    config: RelitConfig, size: str, before: Mapping[str, Path]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Path trace the people that are not there yet, or were made with other settings.

    Yields:
        Folder name and files of one person after the other.
    """
    for number in range(config.people):
        name = person_id(size, number)
        if name not in before or not _made_with(before[name], config):
            yield name, _person_files(config, number)


@torch.no_grad()
def _person_files(config: RelitConfig, number: int) -> dict[str, bytes]:
    """Make a person in one thread: sums in another order round differently, and the truth would be another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return person_to_files(make_person(load_studio(True), config, number), config)
    finally:
        torch.set_num_threads(threads)


def _made_with(folder: Path, config: RelitConfig) -> bool:
    try:
        report = read_report(read_folder(folder, only="report.json"), folder.name)
    except EvaluationError:
        return False
    return bool(report["config"] == config_hash(config))


def read_folder(folder: Path, only: str | None = None) -> dict[str, bytes]:
    """Return the files of a folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if only is None or path.name == only}


def people_of(config: RelitConfig, size: str, people: Mapping[str, Path]) -> list[Path]:
    """Return the folders of the whole set.

    Raises:
        EvaluationError: some are missing: a set with gaps gives other numbers.
    """
    names = [person_id(size, number) for number in range(config.people)]
    missing = [name for name in names if name not in people]
    if missing:
        raise EvaluationError(f"the set relit ({size}) lacks {len(missing)} people, first {missing[0]}; make it again")
    return [people[name] for name in names]


def measurement_key(folder: Path, facts: Sequence[str]) -> str:
    """Return what decides a person's measurement with a method: truth, code and these facts about the method."""
    report = (folder / "report.json").read_bytes()
    known = json.dumps([hashlib.sha256(report).hexdigest(), list(facts), code_hash()])
    return hashlib.sha256(known.encode()).hexdigest()[:16]


@torch.no_grad()
def measure_person(lab: Laboratory, folder: Path, methods: Mapping[str, Method], oracle: str) -> dict[str, bytes]:
    """Reconstruct every photo of a person with every method.

    Args:
        lab: the reconstructor and the regions.
        folder: of the person.
        methods: by name.
        oracle: the method that is also measured with the true light strength.

    Returns:
        Files by name: rows, mean maps, and columns of pictures (see `merge_methods`).
    """
    files = read_folder(folder)
    person = at_resolution(person_from_files(files, lab.model, folder.name), SCORE_PX)
    targets = prepare_targets(lab.model, person, lab.score_maps)
    rows: Rows = []
    kept: dict[str, list[Tensor]] = {}
    columns: dict[str, bytes] = {}
    for number in range(len(person.photos)):
        found = lab.reconstruct(files[f"photo_{number}.png"])
        base = {
            "person": folder.name,
            "group": ITA_GROUPS[person.group].name,
            "stratum": person.stratum,
            "marks": list(person.marks),
            "photo": number,
        }
        if found.status != "done":
            rows.append({**base, "status": found.status, "reason": found.reason})
            continue
        new_rows, results = _measure_photo(lab, found, person, targets, number, methods, oracle)
        rows.extend({**base, "status": "done", **row} for row in new_rows)
        for name, separation in results.items():
            kept.setdefault(name, []).append(separation.uv_albedo)
        if not columns:
            columns[_TRUTH_COLUMN] = truth_column(person, targets[0], number, lab.score_maps)
            for name, separation in results.items():
                columns[_column_of(name)] = method_column(person, targets[0], separation, lab.score_maps)
    report = {"rows": rows, "spread": _spreads(kept, lab)}
    return {"report.json": json.dumps(report, indent=1).encode(), "maps.npz": _mean_maps(kept), **columns}


def merge_methods(new: Mapping[str, bytes], before: Mapping[str, bytes], order: Sequence[str]) -> dict[str, bytes]:
    """Add what was measured before to a measurement of other methods, and join the pictures.

    Args:
        new: of `measure_person`.
        before: what this function returned for the same person and code; empty when there is nothing.
        order: the methods that are wanted, in the order of the tables; those of them that ``new`` lacks are taken from
            ``before``, everything else there is dropped.

    Returns:
        Files by name.
    """
    added = json.loads(new["report.json"])
    known = json.loads(before["report.json"]) if before else {"rows": [], "spread": {}}
    measured = {row.get("method") for row in added["rows"]}
    taken = [name for name in order if name not in measured]
    rows = added["rows"] + [row for row in known["rows"] if row.get("method") in taken]
    place = {name: number for number, name in enumerate(order)}
    rows.sort(key=lambda row: (row["photo"], place.get(row.get("method"), -1)))
    maps = dict(_unpack(new["maps.npz"]))
    if before:
        maps |= {name: value for name, value in _unpack(before["maps.npz"]).items() if name in taken}
    spread = {name: (added["spread"] | known["spread"]).get(name) for name in order}
    report = {"rows": rows, "spread": {name: value for name, value in spread.items() if value is not None}}
    names = [_TRUTH_COLUMN, *(_column_of(name) for name in order)]
    both = {**before, **new}
    columns = {name: both[name] for name in names if name in both}
    picture = {"relit.png": join_columns(list(columns.values()))} if columns else {}
    return {"report.json": json.dumps(report, indent=1).encode(), "maps.npz": _pack(maps), **columns, **picture}


def _column_of(method: str) -> str:
    return f"column_{method}.png"


def _measure_photo(
    lab: Laboratory,
    found: Reconstruction,
    person: RelitPerson,
    targets: tuple[Target, ...],
    number: int,
    methods: Mapping[str, Method],
    oracle: str,
) -> tuple[Rows, dict[str, Separation]]:
    """Return the rows of one photo, and each method's result with the found geometry."""
    view = person.photos[number]
    light = true_uv_shading(lab.model, person, view, SCORE_PX)
    assert found.asset is not None  # noqa: S101 (for the type checker)
    geometry = _geometry_row(lab, found, person)
    faces = {"fitted": lab.fitted(found.asset), "true": lab.fitted(lab.with_true_geometry(found, person, view))}
    rows: Rows = []
    results: dict[str, Separation] = {}
    for kind, face in faces.items():
        strength = light_strength_factor(face, light, lab.score_maps)
        truth = scores_of_truth(face, person, light, lab.score_maps)
        for name, method in methods.items():
            separation = method(face)
            if kind == "fitted":
                results[name] = separation
            for oracle_light in (False, True) if name == oracle else (False,):
                albedo = (separation.uv_albedo * (strength if oracle_light else 1.0)).clamp(1e-4, 1)
                scores = score_albedo(albedo, face, person, targets, light, lab.score_maps)
                head = {"method": name, "geometry": kind, "true_light_strength": oracle_light}
                rows.append({**head, "light_strength": strength, **geometry, **scores, **truth})
    return rows, results


def _geometry_row(lab: Laboratory, found: Reconstruction, person: RelitPerson) -> dict[str, float]:
    """Vertex errors of the fit over the face region, millimetres."""
    assert found.asset is not None  # noqa: S101 (for the type checker)
    model, shape = lab.model, person.coefficients
    truth = model.decode(shape.identity_coeffs, shape.expression_coeffs)[0]
    chosen = torch.zeros(len(truth), dtype=torch.bool)
    chosen[model.uv_source[model.region("face") > 0.5]] = True
    return vertex_error_mm(found.asset.vertices_world[0], truth, chosen)


def _spreads(kept: Mapping[str, Sequence[Tensor]], lab: Laboratory) -> dict[str, dict[str, float]]:
    """How far a person's maps differ over lights, a method each."""
    face, skin = lab.score_maps.face, lab.score_maps.core
    return {name: spread_over_lights(torch.cat(list(maps)), face, skin) for name, maps in kept.items() if len(maps) > 1}


def _mean_maps(kept: Mapping[str, Sequence[Tensor]]) -> bytes:
    """Mean map of each method over the person's photos, small."""
    return _pack(
        {
            name: F.avg_pool2d(torch.cat(list(maps)).mean(0, keepdim=True), SCORE_PX // _KEPT_PX)[0].half().numpy()
            for name, maps in kept.items()
        }
    )


def _pack(maps: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **maps)  # type: ignore[arg-type]
    return buffer.getvalue()


def _unpack(packed: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(packed), allow_pickle=False) as maps:
        return {name: maps[name] for name in maps.files}


def fitted_faces(lab: Laboratory, photos: Sequence[bytes]) -> list[FittedFace]:
    """Return what methods get for each photo in which a face was found."""
    found = [lab.reconstruct(photo) for photo in photos]
    return [lab.fitted(result.asset) for result in found if result.asset is not None]
