"""Photos to crops and a manifest of faces."""

from facealbedo.pipelines.preprocess.pipeline import create_pipeline

__all__ = ["create_pipeline"]
