"""Kedro settings of the project."""

from facealbedo.configuration import CONFIG_LOADER_ARGS
from facealbedo.hooks import ProjectContext, ProjectHooks

HOOKS = (ProjectHooks(),)
CONTEXT_CLASS = ProjectContext
# An environment that was set up for an earlier version may still hold it; `hooks` do its work now.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow",)

__all__ = ["CONFIG_LOADER_ARGS", "CONTEXT_CLASS", "DISABLE_HOOKS_FOR_PLUGINS", "HOOKS"]
