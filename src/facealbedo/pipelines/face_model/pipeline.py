"""Wiring of the `face_model` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.face_model.nodes import assemble_model, build_head, lay_out_atlas


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: bases, atlas, then landmarks and regions."""
    return Pipeline(
        [
            Node(
                build_head,
                inputs=["params:face_model", "makehuman_data"],
                outputs="face_model_geometry",
                name="build_head",
            ),
            Node(
                lay_out_atlas,
                inputs=["params:face_model", "face_model_geometry"],
                outputs="face_model_atlas",
                name="lay_out_atlas",
            ),
            Node(
                assemble_model,
                inputs=[
                    "params:face_model",
                    "makehuman_data",
                    "face_model_geometry",
                    "face_model_atlas",
                    "face_landmark_table",
                ],
                outputs="face_model",
                name="assemble_face_model",
            ),
        ]
    )
