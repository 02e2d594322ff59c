"""Plots of errors by ITA group."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.evaluate.summary import METRICS


def group_figure(tables: Mapping[str, Mapping[str, Any]], metrics: tuple[str, ...]) -> Figure:
    """Return one panel a metric: its mean in each ITA group, a line a method."""
    figure = Figure(figsize=(4.6 * len(metrics), 3.6), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    names = [group.name for group in ITA_GROUPS]
    for panel, metric in zip(panels, metrics, strict=True):
        for method, table in tables.items():
            panel.plot(names, [table["groups"][metric][name] for name in names], marker="o", label=method)
        panel.set_title(METRICS[metric].label, fontsize=10)
        panel.set_xlabel("ITA group (I very light … VI dark)")
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return figure


def figure_to_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def bar_figure(means: Mapping[str, Mapping[str, Any]], metrics: tuple[str, ...]) -> Figure:
    """Return one panel a metric: a bar a method with its interval; an empty figure without metrics."""
    figure = Figure(figsize=(4.0 * max(1, len(metrics)), 3.2), layout="constrained")
    for index, metric in enumerate(metrics):
        panel = figure.add_subplot(1, len(metrics), index + 1)
        names = list(means)
        values = [means[name][metric]["value"] for name in names]
        low = [value - means[name][metric]["low"] for name, value in zip(names, values, strict=True)]
        high = [means[name][metric]["high"] - value for name, value in zip(names, values, strict=True)]
        panel.bar(names, values, yerr=[low, high], capsize=3)
        panel.set_title(METRICS[metric].label, fontsize=10)
        panel.tick_params(axis="x", rotation=30)
    return figure
