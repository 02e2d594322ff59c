"""Wiring of the `fit` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.fit.nodes import fit_faces, tabulate_fits


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: fit what is missing, then write the table."""
    return Pipeline(
        [
            Node(
                fit_faces,
                inputs=["params:fit", "faces", "face_crops", "fit_journal_before"],
                outputs="fit_journal",
                name="fit_faces",
            ),
            Node(tabulate_fits, inputs=["faces", "fit_journal"], outputs="fits", name="tabulate_fits"),
        ]
    )
