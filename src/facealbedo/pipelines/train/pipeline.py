"""Wiring of the `train` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.train.nodes import describe_model, train_refiner


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: train, or go on from the checkpoint; then write the model card."""
    return Pipeline(
        [
            Node(
                train_refiner,
                inputs=["params:train", "fits", "faces", "face_crops", "train_checkpoints"],
                outputs=["refiner", "train_card", "train_history"],
                name="train_refiner",
            ),
            Node(
                describe_model,
                inputs=["params:train", "refiner", "train_card", "fits", "faces", "face_crops"],
                outputs=["train_metrics", "train_pictures", "model_card"],
                name="describe_model",
            ),
        ]
    )
