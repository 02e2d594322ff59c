"""Wiring of the `face_landmarks` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.face_landmarks.nodes import detect_in_photos, detect_in_renders, refine_landmarks


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: renders, photos, then the table that the `face_model` pipeline reads."""
    return Pipeline(
        [
            Node(
                detect_in_renders,
                inputs=["params:face_landmarks", "makehuman_data", "face_landmarks_model"],
                outputs="rendered_landmarks",
                name="detect_in_renders",
            ),
            Node(
                detect_in_photos,
                inputs="params:face_landmarks",
                outputs="detected_photos",
                name="detect_in_photos",
            ),
            Node(
                refine_landmarks,
                inputs=["params:face_landmarks", "face_landmarks_model", "rendered_landmarks", "detected_photos"],
                outputs="face_landmark_table",
                name="refine_landmarks",
            ),
        ]
    )
