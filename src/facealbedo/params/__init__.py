"""Validated parameters: one pydantic model file a pipeline, with meaning, bounds and units."""
