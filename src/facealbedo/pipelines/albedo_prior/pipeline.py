"""Wiring of the `albedo_prior` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.albedo_prior.nodes import build_prior, draw_sheet


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: build the prior, then draw faces from it."""
    return Pipeline(
        [
            Node(
                build_prior,
                inputs=["params:albedo_prior", "albedo_prior_face_model"],
                outputs="albedo_prior",
                name="build_albedo_prior",
            ),
            Node(
                draw_sheet,
                inputs=["params:albedo_prior", "albedo_prior"],
                outputs="albedo_prior_sheet",
                name="draw_albedo_prior",
            ),
        ]
    )
