"""Kedro settings of the project."""

from facealbedo.configuration import CONFIG_LOADER_ARGS
from facealbedo.hooks import ProjectHooks

HOOKS = (ProjectHooks(),)

__all__ = ["CONFIG_LOADER_ARGS", "HOOKS"]
