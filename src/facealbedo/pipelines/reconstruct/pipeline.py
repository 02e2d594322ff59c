"""Wiring of the `reconstruct` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.reconstruct.nodes import reconstruct_faces, summarise


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: reconstruct what is missing, then write the table and the page over all faces."""
    return Pipeline(
        [
            Node(
                reconstruct_faces,
                inputs=["params:reconstruct", "reconstruct_journal_before"],
                outputs=["reconstructed_faces", "reconstruct_journal"],
                name="reconstruct_faces",
            ),
            Node(
                summarise,
                inputs=["params:reconstruct", "reconstruct_journal"],
                outputs=["reconstruct_summary", "reconstruct_index"],
                name="summarise_reconstructions",
            ),
        ]
    )
