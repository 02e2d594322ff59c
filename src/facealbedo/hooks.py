"""Hooks that run inside every Kedro session."""

from __future__ import annotations

import logging
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.validation.exceptions import ParameterValidationError
from pydantic import BaseModel

from facealbedo.core.errors import FaceAlbedoError

logger = logging.getLogger(__name__)


class ProjectContext(KedroContext):
    """Kedro's context, refusing wrong parameters in few words."""

    def _get_validated_params(self) -> dict[str, Any]:
        """Name what is wrong and end with exit status 2, as the command does for wrong options: no traceback."""
        try:
            return super()._get_validated_params()
        except ParameterValidationError as error:
            logger.error("%s", error)  # noqa: TRY400
            raise SystemExit(2) from None


class ProjectHooks:
    """Readable parameters in MLflow; one clear message instead of a traceback for what the user can mend."""

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

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Say where the results lie."""
        for name in sorted(pipeline.outputs()):
            place = catalog[name]._describe().get("filepath") if name in catalog else None
            if place:
                logger.info("%s: %s", name, place)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """End with the message of a `FaceAlbedoError`, wrapped by Kedro or not; other errors keep their traceback."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, FaceAlbedoError):
            cause = cause.__cause__
        if cause is not None:
            logger.error("%s", cause)
            raise SystemExit(1) from None


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
