"""Hooks that run inside every Kedro session."""

from __future__ import annotations

import logging
import sys
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.validation.exceptions import ParameterValidationError

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
    """Records experiments with MLflow; gives one clear message instead of a traceback for what the user can mend."""

    def __init__(self) -> None:
        self._tracking: dict[str, Any] = {"experiments": {}}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read which pipelines are experiments."""
        self._tracking = context.config_loader["mlflow"]

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Open an MLflow run for an experiment, with its parameters; other pipelines do not even import MLflow."""
        experiments = self._tracking["experiments"]
        name = next((name for name in run_params.get("pipeline_names") or () if name in experiments), None)
        if name is None:
            return
        from facealbedo.tracking import open_run

        given = sorted(source for source in pipeline.inputs() if source.startswith("params:"))
        params = {source.removeprefix("params:"): catalog.load(source) for source in given}
        open_run(self._tracking["tracking_uri"], experiments[name], name, params, run_params.get("env") or "base")

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Say where the results lie."""
        self._close("FINISHED")
        for name in sorted(pipeline.outputs()):
            place = catalog[name]._describe().get("filepath") if name in catalog else None
            if place:
                logger.info("%s: %s", name, place)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """End with the message of a `FaceAlbedoError`, wrapped by Kedro or not; other errors keep their traceback."""
        self._close("FAILED")
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, FaceAlbedoError):
            cause = cause.__cause__
        if cause is not None:
            logger.error("%s", cause)
            raise SystemExit(1) from None

    def _close(self, status: str) -> None:
        if "mlflow" in sys.modules:
            from facealbedo.tracking import close_run

            close_run(status)
