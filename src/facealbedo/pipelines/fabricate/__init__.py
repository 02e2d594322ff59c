"""Photos of people that do not exist, with the truth about them."""

from facealbedo.pipelines.fabricate.pipeline import create_pipeline

__all__ = ["create_pipeline"]
