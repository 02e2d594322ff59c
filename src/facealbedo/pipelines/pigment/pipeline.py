"""Wiring of the `pigment` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.pigment.nodes import measure_pigment, train_pigment


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: train, then measure on faces and in light that training never saw."""
    return Pipeline(
        [
            Node(train_pigment, inputs="params:pigment", outputs="pigment_net_file", name="train_pigment_net"),
            Node(
                measure_pigment,
                inputs=["params:pigment", "pigment_net_file"],
                outputs="pigment_metrics",
                name="measure_pigment_net",
            ),
        ]
    )
