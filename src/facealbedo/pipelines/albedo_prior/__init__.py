"""The balanced prior of skin albedo, built from the face model's atlas."""

from facealbedo.pipelines.albedo_prior.pipeline import create_pipeline

__all__ = ["create_pipeline"]
