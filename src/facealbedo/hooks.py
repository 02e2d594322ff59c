"""Hooks that run inside every Kedro session."""

from __future__ import annotations

import logging
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node
from pydantic import BaseModel

logger = logging.getLogger(__name__)


class ProjectHooks:
    """Make validated parameters readable in MLflow."""

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Log the fields of pydantic parameters one by one: kedro-mlflow would store each model as one long string."""
        models = {name: value for name, value in inputs.items() if isinstance(value, BaseModel)}
        if not models:
            return
        import mlflow

        if mlflow.active_run() is None:
            return
        for name, model in models.items():
            fields = _flatten(model.model_dump(mode="json"), name.removeprefix("params:"))
            mlflow.log_params({key: str(value)[:500] for key, value in fields.items()})


def _flatten(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return the leaves of a nested dictionary under dotted names."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            leaves.update(_flatten(value, name))
        else:
            leaves[name] = value
    return leaves
