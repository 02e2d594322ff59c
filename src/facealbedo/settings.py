"""Kedro settings of the project."""

from facealbedo.configuration import CONFIG_LOADER_ARGS
from facealbedo.hooks import ProjectContext, ProjectHooks

HOOKS = (ProjectHooks(),)
CONTEXT_CLASS = ProjectContext

__all__ = ["CONFIG_LOADER_ARGS", "CONTEXT_CLASS", "HOOKS"]
