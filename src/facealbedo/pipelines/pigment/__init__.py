"""Train the network that tells pigment from shading in the skin's detail."""

from facealbedo.pipelines.pigment.pipeline import create_pipeline

__all__ = ["create_pipeline"]
