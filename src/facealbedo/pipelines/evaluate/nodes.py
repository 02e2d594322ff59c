"""Nodes of the `evaluate` pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facealbedo.params.evaluate import EvaluateParams

# What is measured person by person begins with nothing, so that its folder is there also when nothing is to be done.
Files = dict[str, dict[str, bytes]]
Folders = dict[str, Path]


def make_people(params: EvaluateParams, people_before: Folders) -> Iterator[Files]:
    """Path trace the people of `relit` that are missing, one after the other."""
    from facealbedo.evaluation import runs

    yield {}
    yield from runs.make_people(params, people_before)


def measure_relit(params: EvaluateParams, people: Folders, measured_before: Folders) -> Iterator[Files]:
    """Reconstruct every photo of every person with every method, and score it against the truth."""
    from facealbedo.evaluation import runs

    yield {}
    yield from runs.measure_relit(params, people, measured_before)


def report_relit(params: EvaluateParams, people: Folders, measured: Folders) -> tuple[dict[str, Any], bytes, Any]:
    """Return metrics, page and plot."""
    from facealbedo.evaluation import runs

    return _tracked(runs.report_relit(params, people, measured))


def report_geometry(params: EvaluateParams, people: Folders, measured: Folders) -> tuple[dict[str, Any], bytes, Any]:
    """Return metrics, page and plot of the vertex errors."""
    from facealbedo.evaluation import runs

    return _tracked(runs.report_geometry(params, people, measured))


def measure_multilight(params: EvaluateParams) -> Iterator[Files]:
    """Measure the people of a folder with a folder of photos each."""
    from facealbedo.evaluation import runs

    yield {}
    yield from runs.measure_multilight(params)


def report_multilight(
    params: EvaluateParams, people: Folders, relit_measured: Folders, measured: Folders
) -> tuple[dict[str, Any], bytes, Any]:
    """Return metrics, page and plot of the spread over lights."""
    from facealbedo.evaluation import runs

    return _tracked(runs.report_multilight(params, people, relit_measured, measured))


def measure_portraits(params: EvaluateParams, measured_before: Folders) -> Iterator[Files]:
    """Reconstruct photos with every method and compare the renders with them."""
    from facealbedo.evaluation import runs

    yield {}
    yield from runs.measure_portraits(params, measured_before)


def report_portraits(params: EvaluateParams, measured: Folders) -> tuple[dict[str, Any], bytes, Any]:
    """Return metrics, page and plot."""
    from facealbedo.evaluation import runs

    return _tracked(runs.report_portraits(params, measured))


def report_fair(params: EvaluateParams) -> tuple[dict[str, Any], bytes, Any]:
    """Score the user's copy of the FAIR benchmark."""
    from facealbedo.evaluation import runs

    return _tracked(runs.report_fair(params))


def compare_with_reference(
    params: EvaluateParams, metrics: dict[str, Any], reference: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return what the gate compares."""
    from facealbedo.evaluation import runs

    return runs.compare_with_reference(params, metrics, reference)


def enforce_gate(gate: list[dict[str, Any]]) -> None:
    """Fail when the worst ITA group or the bias got worse by more than the bootstrap interval."""
    from facealbedo.evaluation import runs

    runs.enforce(gate)


def _tracked(report: tuple[dict[str, Any], bytes, Any]) -> tuple[dict[str, Any], bytes, Any]:
    """Log a set to the active MLflow run, if there is one."""
    from facealbedo.tracking import log_set

    log_set(*report)
    return report
