"""Does a change make the worst group or the bias of skin tone worse than chance explains?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facealbedo.core.metrics.masks import EvaluationError

GATED = ("worst_group", "bias")
# What decides which people a set has.
_SAME = ("config", "people")
_NO_INTERVAL = 1e-3


def gate(metrics: Mapping[str, Any], reference: Mapping[str, Any], methods: list[str]) -> list[dict[str, Any]]:
    """Compare the ITA errors of methods with committed ones.

    Args:
        metrics: of a set: ``tables.fitted.<method>.tone``, with ``set``, ``size``, ``config`` and ``people``.
        reference: of the same set and size; empty when there is none.
        methods: those that are gated; ones that the reference lacks are new and pass.

    Returns:
        One line a number: method, name, value, the reference's interval, passed.

    Raises:
        EvaluationError: a gated method was not measured, or the reference was measured on other people.
    """
    differing = [name for name in _SAME if reference and reference.get(name) != metrics[name]]
    if differing:
        raise EvaluationError(
            f"the committed reference is of another set ({', '.join(differing)} differ) and says nothing of this one; "
            "take the new numbers over with `python -m facealbedo.benchmarks.evaluation`"
        )
    lines = []
    for method in methods:
        if method not in metrics["tables"]["fitted"]:
            raise EvaluationError(f"the gate asks for {method}, which was not measured")
        known = reference.get("tables", {}).get("fitted", {}).get(method)
        for name in GATED if known else ():
            value = metrics["tables"]["fitted"][method]["tone"][name]["value"]
            before = known["tone"][name]["value"]
            limit = before + _margin(known, name)
            lines.append(
                {
                    "method": method,
                    "number": name,
                    "value": value,
                    "reference": before,
                    "limit": limit,
                    "passed": value <= limit,
                }
            )
    return lines


def _margin(known: Mapping[str, Any], name: str) -> float:
    """Return how far above the reference its interval reaches.

    People are drawn anew within their groups; groups of one person give no interval. Then that of the mean error over
    all people stands in.
    """
    margin = known["tone"][name]["high"] - known["tone"][name]["value"]
    if margin > _NO_INTERVAL:
        return float(margin)
    overall = known["mean"]["ita_error"]
    return float(overall["high"] - overall["value"])


def check_gate(lines: list[dict[str, Any]]) -> None:
    """Raise when a gated number got worse by more than the bootstrap interval of the reference.

    Raises:
        EvaluationError: naming each.
    """
    failed = [
        f"{line['method']}: {line['number']} of the ITA error {line['value']:.2f}° (was {line['reference']:.2f}°, "
        f"limit {line['limit']:.2f}°)"
        for line in lines
        if not line["passed"]
    ]
    if failed:
        raise EvaluationError("worse than the committed reference: " + "; ".join(failed))
