"""Photos in, relightable faces out."""

from facealbedo.pipelines.reconstruct.pipeline import create_pipeline

__all__ = ["create_pipeline"]
