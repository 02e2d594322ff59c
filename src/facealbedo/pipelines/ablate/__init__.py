"""The same training with one part of the method left out at a time, and one table of what each part does."""

from facealbedo.pipelines.ablate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
