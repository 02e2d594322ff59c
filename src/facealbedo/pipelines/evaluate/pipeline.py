"""Wiring of the `evaluate` pipeline: one namespaced template a set."""

from __future__ import annotations

from collections.abc import Callable

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.evaluate import nodes

_PARAMS = "params:evaluate"
_REPORT = ["metrics", "page", "plot"]


def set_pipeline(
    name: str,
    report: Callable[..., object],
    report_inputs: list[str],
    measure: Callable[..., object] | None = None,
    measure_inputs: list[str] | None = None,
    shared: dict[str, str] | None = None,
) -> Pipeline:
    """Return the template of a set: measure (if it has subjects of its own), then report.

    Args:
        name: the set and its namespace.
        report: function of parameters and ``report_inputs``; returns metrics, page and plot.
        report_inputs: datasets of the report.
        measure: function that yields measured subjects.
        measure_inputs: datasets of the measurement.
        shared: which of the inputs are datasets of other sets.
    """
    parts = [Node(report, inputs=[_PARAMS, *report_inputs], outputs=_REPORT, name="report")]
    if measure is not None:
        inputs = [_PARAMS, *(measure_inputs or [])]
        parts.insert(0, Node(measure, inputs=inputs, outputs="measured", name="measure"))
    return Pipeline(parts, namespace=name, parameters={_PARAMS}, inputs=shared or {})


def gate_pipeline() -> Pipeline:
    """Return the comparison of `relit` with the committed numbers."""
    compare = Node(
        nodes.compare_with_reference,
        inputs=[_PARAMS, "metrics", "evaluation_reference"],
        outputs="gate",
        name="compare_with_reference",
    )
    enforce = Node(nodes.enforce_gate, inputs="gate", outputs=None, name="enforce_gate")
    return Pipeline(
        [compare, enforce],
        namespace="relit",
        parameters={_PARAMS},
        inputs={"metrics": "relit.metrics", "evaluation_reference": "evaluation_reference"},
    )


def create_pipeline(**_: object) -> Pipeline:
    """Return all sets and the gate."""
    people = Pipeline(
        [Node(nodes.make_people, inputs=[_PARAMS, "people_before"], outputs="people", name="make_people")],
        namespace="relit",
        parameters={_PARAMS},
    )
    relit = set_pipeline(
        "relit",
        nodes.report_relit,
        ["people", "measured"],
        nodes.measure_relit,
        ["people", "measured_before"],
        {"people": "relit.people"},
    )
    of_relit = {"people": "relit.people", "relit_measured": "relit.measured"}
    geometry = set_pipeline("geometry", nodes.report_geometry, ["people", "relit_measured"], shared=of_relit)
    multilight = set_pipeline(
        "multilight",
        nodes.report_multilight,
        ["people", "relit_measured", "measured"],
        nodes.measure_multilight,
        [],
        of_relit,
    )
    portraits = set_pipeline(
        "portraits", nodes.report_portraits, ["measured"], nodes.measure_portraits, ["measured_before"]
    )
    return (
        people
        + relit
        + geometry
        + multilight
        + portraits
        + set_pipeline("fair", nodes.report_fair, [])
        + gate_pipeline()
    )
