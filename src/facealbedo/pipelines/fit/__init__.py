"""Crops to coefficients: pose, shape, camera, light, tone."""

from facealbedo.pipelines.fit.pipeline import create_pipeline

__all__ = ["create_pipeline"]
