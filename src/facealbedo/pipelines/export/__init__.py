"""Fitted crops to assets."""

from facealbedo.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
