"""Wiring of the `preprocess` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.preprocess.nodes import cut_faces, tabulate_faces


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: cut out what is missing, then write the manifest."""
    return Pipeline(
        [
            Node(
                cut_faces,
                inputs=["params:preprocess", "preprocess_journal_before"],
                outputs=["face_crops", "preprocess_journal"],
                name="cut_faces",
            ),
            Node(
                tabulate_faces,
                inputs=["params:preprocess", "preprocess_journal"],
                outputs="faces",
                name="tabulate_faces",
            ),
        ]
    )
