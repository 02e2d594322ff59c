"""Wiring of the `export` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.export.nodes import export_faces, summarise_exports


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: export what is missing, then write the table and the page over all faces."""
    return Pipeline(
        [
            Node(
                export_faces,
                inputs=["params:export", "fits", "faces", "face_crops", "export_journal_before"],
                outputs=["exported_faces", "export_journal"],
                name="export_faces",
            ),
            Node(
                summarise_exports,
                inputs=["params:export", "fits", "export_journal"],
                outputs=["export_summary", "export_index"],
                name="summarise_exports",
            ),
        ]
    )
