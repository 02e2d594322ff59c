"""Measure methods on benchmark sets, one namespace a set."""

from facealbedo.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
