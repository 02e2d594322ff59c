"""MakeHuman's data in, the embedded face model out."""

from facealbedo.pipelines.face_model.pipeline import create_pipeline

__all__ = ["create_pipeline"]
