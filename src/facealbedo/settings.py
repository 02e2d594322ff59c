"""Kedro settings of the project."""

from facealbedo.hooks import ProjectContext, ProjectHooks

HOOKS = (ProjectHooks(),)
CONTEXT_CLASS = ProjectContext
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment's parameters hold only what differs from the base.
    "merge_strategy": {"parameters": "soft"},
}
