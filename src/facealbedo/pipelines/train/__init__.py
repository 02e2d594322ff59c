"""Fitted crops to trained refinement and illumination networks."""

from facealbedo.pipelines.train.pipeline import create_pipeline

__all__ = ["create_pipeline"]
