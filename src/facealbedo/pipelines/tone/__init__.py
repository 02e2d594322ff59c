"""Train the estimator of skin tone on simulated pictures."""

from facealbedo.pipelines.tone.pipeline import create_pipeline

__all__ = ["create_pipeline"]
