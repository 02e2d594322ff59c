"""All pipelines by name. Importing this module imports no torch, so that `kedro run --help` and Kedro-Viz stay fast."""

from __future__ import annotations

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline of `facealbedo.pipelines`; plain `kedro run` reconstructs faces from photos."""
    pipelines = find_pipelines(raise_errors=True)
    # Kedro may have asked for some pipelines only.
    if "reconstruct" in pipelines:
        pipelines["__default__"] = pipelines["reconstruct"]
    return pipelines
