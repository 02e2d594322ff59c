"""Kedro pipelines: wiring and thin nodes."""
