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
    shared: frozenset[str] = frozenset(),
) -> Pipeline:
    """Return the template of a set: measure (if it has subjects of its own), then report.

    Args:
        name: the set and its namespace.
        report: function of parameters and ``report_inputs``; returns metrics, page and plot.
        report_inputs: datasets of the report.
        measure: function that yields measured subjects.
        measure_inputs: datasets of the measurement.
        shared: datasets of other sets.
    """
    parts = [Node(report, inputs=[_PARAMS, *report_inputs], outputs=_REPORT, name="report")]
    if measure is not None:
        inputs = [_PARAMS, *(measure_inputs or [])]
        parts.insert(0, Node(measure, inputs=inputs, outputs="measured", name="measure"))
    return Pipeline(parts, namespace=name, parameters={_PARAMS}, inputs=set(shared))


def gate_pipeline() -> Pipeline:
    """Return the comparison of `relit` with the committed numbers."""
    return Pipeline(
        [
            Node(
                nodes.compare_with_reference,
                inputs=[_PARAMS, "relit.metrics", "evaluation_reference"],
                outputs="relit.gate",
                name="compare_with_reference",
            ),
            Node(nodes.enforce_gate, inputs="relit.gate", outputs=None, name="enforce_gate"),
        ]
    )


def create_pipeline(**_: object) -> Pipeline:
    """Return all sets and the gate."""
    people = Pipeline(
        [Node(nodes.make_people, inputs=[_PARAMS, "people_before"], outputs="people", name="make_people")],
        namespace="relit",
        parameters={_PARAMS},
    )
    of_relit = frozenset({"relit.people", "relit.measured"})
    return (
        people
        + set_pipeline(
            "relit", nodes.report_relit, ["people", "measured"], nodes.measure_relit, ["people", "measured_before"]
        )
        + set_pipeline("geometry", nodes.report_geometry, ["relit.people", "relit.measured"], shared=of_relit)
        + set_pipeline(
            "multilight",
            nodes.report_multilight,
            ["relit.people", "relit.measured", "measured"],
            nodes.measure_multilight,
            [],
            of_relit,
        )
        + set_pipeline("portraits", nodes.report_portraits, ["measured"], nodes.measure_portraits, ["measured_before"])
        + set_pipeline("fair", nodes.report_fair, [])
        + gate_pipeline()
    )
