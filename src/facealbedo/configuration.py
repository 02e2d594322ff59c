"""How Kedro's configuration loader is set up; apart from `settings`, so that other programs can read `conf/` too."""

from __future__ import annotations

from typing import Any

CONFIG_LOADER_ARGS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment's parameters hold only what differs from the base.
    "merge_strategy": {"parameters": "soft"},
    "config_patterns": {"mlflow": ["mlflow.yml"]},
}
