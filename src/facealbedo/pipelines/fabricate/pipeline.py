"""Wiring of the `fabricate` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.fabricate.nodes import fabricate_photos


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: one node, portrait after portrait."""
    return Pipeline(
        [
            Node(
                fabricate_photos,
                inputs="params:fabricate",
                outputs=["fabricated_photos", "fabricated_truth"],
                name="fabricate_photos",
            )
        ]
    )
