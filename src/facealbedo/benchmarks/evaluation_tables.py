"""Write the tables of measured numbers in README and docs/evaluation.md from the committed numbers.

    python -m facealbedo.benchmarks.evaluation_tables [--check]

Between the lines ``<!-- evaluation:SET -->`` and ``<!-- /evaluation:SET -->`` stands what this command writes, from
``docs/benchmarks/evaluation_reference.json`` and, for ``ablations``, ``docs/benchmarks/ablations.json``. With
``--check`` nothing is written and the exit status says whether something would change.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facealbedo.ablation import table_text
from facealbedo.benchmarks.evaluation import REFERENCE
from facealbedo.benchmarks.evaluation_ablations import known_numbers
from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.evaluate.summary import METRICS

TEXTS = (Path("README.md"), Path("docs") / "evaluation.md")
NOT_MEASURED = "Not measured yet.\n"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "relit": (
        "delta_e_aligned", "delta_e", "relight_psnr", "relight_psnr_aligned", "light_correlation", "marks_kept",
        "feature_detail_correlation",
    ),
    "portraits": ("psnr", "ssim", "identity_cosine", "light_correlation", "bs_error", "skin_detail_kept"),
    "multilight": ("spread", "spread_one_colour", "relative_spread"),
    "geometry": ("vertex_mean_mm", "vertex_median_mm", "vertex_p90_mm"),
}  # fmt: skip
# Measures that need no truth: what the truth itself has stands beside what methods have.
_WITHOUT_TRUTH = ("light_correlation", "feature_detail_kept", "skin_detail_kept")
_STRATA = ("delta_e_aligned", "relight_psnr_aligned", "feature_detail_correlation")
_TONE = ("average", "bias", "worst_group")
_MARKED = re.compile(r"(<!-- evaluation:(\w+) -->\n).*?(<!-- /evaluation:\2 -->)", re.DOTALL)

logger = logging.getLogger(__name__)


def filled(text: str, reference: Mapping[str, Any], ablations: Mapping[str, Any] | None = None) -> str:
    """Return a text with what stands between its markers replaced by the tables.

    Args:
        text: Markdown with markers.
        reference: numbers of the benchmark sets.
        ablations: numbers of the pipeline `ablate`, None while there are none.

    Raises:
        FaceAlbedoError: a marker names a set that does not exist.
    """

    def table(name: str) -> str:
        if name != "ablations":
            return tables_of(name, reference)
        return table_text(ablations) if ablations else NOT_MEASURED

    return _MARKED.sub(lambda match: match[1] + table(match[2]) + match[3], text)


def tables_of(name: str, reference: Mapping[str, Any]) -> str:
    """Return the Markdown of a set: the full size if it was measured, else the small one, else a sentence.

    Raises:
        FaceAlbedoError: there is no such set.
    """
    if name == "relit_true":
        return _with_true_geometry(reference, COLUMNS["relit"])
    if name == "relit_without_truth":
        return _with_true_geometry(reference, _WITHOUT_TRUTH)
    if name not in COLUMNS:
        raise FaceAlbedoError(f"there is no benchmark set {name!r}; the sets are {', '.join(COLUMNS)}")
    sizes = reference.get(name, {})
    size = _largest(sizes)
    if size is None:
        return NOT_MEASURED
    numbers = sizes[size]
    count = f"{numbers['people']} people, {numbers['photos']} photos, {numbers['not_reconstructed']} not reconstructed"
    parts = [
        f"`{name}`, {size}: {count}; 95 % bootstrap intervals over people.\n",
        _means(COLUMNS[name], numbers["tables"]["fitted"]),
    ]
    if name == "relit":
        parts += [_strata(numbers["strata"])] if "strata" in numbers else []
        parts += [_groups(numbers, metric) for metric in ("delta_e_aligned", "relight_psnr")]
        parts += ["Error of the skin's tone (ITA, degrees) by group, as FAIR counts it:\n", _tone(numbers)]
    return "\n".join(parts)


def _largest(sizes: Mapping[str, Any]) -> str | None:
    return next((size for size in ("full", "small") if size in sizes), None)


def _with_true_geometry(reference: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The set `relit` with shape, pose and camera known: what is left is the error of the albedo alone."""
    sizes = reference.get("relit", {})
    size = _largest(sizes)
    if size is None:
        return NOT_MEASURED
    tables = sizes[size]["tables"]["true"]
    means = next(iter(tables.values()))["mean"]
    truth = {column: means[f"{column}_of_truth"] for column in columns if f"{column}_of_truth" in means}
    return _means(columns, tables, truth if len(truth) == len(columns) else None)


def _means(wanted: Sequence[str], tables: Mapping[str, Any], truth: Mapping[str, Any] | None = None) -> str:
    """A row a method, and below them what the true albedo has, if that is given."""
    columns = [column for column in wanted if all(column in row["mean"] for row in tables.values())]
    rows = {f"`{method}`": row["mean"] for method, row in tables.items()}
    rows |= {"the true albedo": truth} if truth else {}
    lines = [[""] + [METRICS[column].label for column in columns], ["---"] * (len(columns) + 1)]
    for title, means in rows.items():
        cells = []
        for column in columns:
            interval, digits = means[column], METRICS[column].decimals
            cells.append(f"{interval['value']:.{digits}f} ({interval['low']:.{digits}f}-{interval['high']:.{digits}f})")
        lines.append([title, *cells])
    return _markdown(lines)


def _strata(strata: Mapping[str, Any]) -> str:
    """Plain and marked skin side by side."""
    titles = [f"{METRICS[column].label}: {name}" for column in _STRATA for name in strata]
    lines = [["", *titles], ["---"] * (len(titles) + 1)]
    for method in next(iter(strata.values()))["methods"]:
        values = [(column, part["methods"][method]["mean"]) for column in _STRATA for part in strata.values()]
        cells = [f"{means[column]['value']:.{METRICS[column].decimals}f}" for column, means in values]
        lines.append([f"`{method}`", *cells])
    counts = ", ".join(f"{part['people']} {name}" for name, part in strata.items())
    return f"By stratum ({counts}):\n\n{_markdown(lines)}"


def _tone(numbers: Mapping[str, Any]) -> str:
    """ITA errors: average, bias and worst group with intervals, then each group; oracles below."""
    names = [group.name for group in ITA_GROUPS]
    lines = [["", *(name.replace("_", " ") for name in _TONE), *names], ["---"] * (len(names) + len(_TONE) + 1)]
    rows = {f"`{method}`": row for method, row in numbers["tables"]["fitted"].items()}
    of = numbers.get("oracle_of")
    rows |= {f"`{of}`, {name}": row for name, row in numbers.get("oracles", {}).items() if of and "true" in name}
    for title, row in rows.items():
        tone = [row["tone"][name] for name in _TONE]
        cells = [f"{value['value']:.1f} ({value['low']:.1f}-{value['high']:.1f})" for value in tone]
        lines.append([title, *cells, *(f"{row['groups']['ita_error'][name]:.1f}" for name in names)])
    return _markdown(lines)


def _groups(numbers: Mapping[str, Any], metric: str) -> str:
    names = [group.name for group in ITA_GROUPS]
    lines = [[METRICS[metric].label, *names], ["---"] * (len(names) + 1)]
    for method, row in numbers["tables"]["fitted"].items():
        values = row["groups"][metric]
        lines.append([f"`{method}`", *(f"{values[name]:.{METRICS[metric].decimals}f}" for name in names)])
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def main() -> None:
    """Write or check the tables."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    ablations = known_numbers()
    changed = False
    for place in TEXTS:
        text = place.read_text(encoding="utf-8")
        wanted = filled(text, reference, ablations)
        changed |= text != wanted
        if not check:
            place.write_text(wanted, encoding="utf-8")
    sys.exit(int(check and changed))


if __name__ == "__main__":
    main()
