"""Wiring of the `tone` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.tone.nodes import measure_tone_estimator, train_tone


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: train, then measure in light that training never saw."""
    return Pipeline(
        [
            Node(train_tone, inputs="params:tone", outputs="tone_estimator_file", name="train_tone_estimator"),
            Node(
                measure_tone_estimator,
                inputs=["params:tone", "tone_estimator_file"],
                outputs="tone_metrics",
                name="measure_tone_estimator",
            ),
        ]
    )
