"""Rows of a set to its metrics, its page and its plot."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.evaluate.summary import METRICS, Metric, paired_difference, select, summarise
from facealbedo.core.metrics.masks import EvaluationError

Row = Mapping[str, Any]
# Columns of the page's tables, by what they are about.
TOPICS: Mapping[str, tuple[str, ...]] = {
    "albedo": (
        "delta_e_aligned", "delta_e", "relative_l1_aligned", "relative_l1", "delta_e_seen", "delta_e_unseen", "mae_255",
    ),
    "relit views": ("relight_psnr", "relight_psnr_aligned", "relight_ssim", "relight_l1"),
    "tone": ("ita_error", "ita_error_aligned"),
    "light that stayed": ("light_correlation", "light_correlation_of_truth", "left_right_error", "bs_error"),
    "detail that stayed": (
        "marks_kept",
        "feature_detail_true",
        "feature_detail_correlation",
        "skin_detail_true",
        "skin_detail_correlation",
        "skin_detail_kept",
        "skin_detail_kept_of_truth",
        "feature_detail_kept",
        "feature_detail_kept_of_truth",
    ),
    "agreement with the photo": ("l1", "psnr", "ssim", "lpips", "identity_cosine"),
    "spread over lights": ("spread", "spread_one_colour", "relative_spread"),
}  # fmt: skip
_STRATUM_COLUMNS = (
    "delta_e_aligned", "delta_e", "relight_psnr", "relight_psnr_aligned", "ita_error", "marks_kept",
    "feature_detail_correlation",
)  # fmt: skip
_STYLE = """
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 90rem; padding: 0 1.5rem; font: 14px/1.5 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #8884; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .best { font-weight: 700; }
nav { columns: 24rem; } nav a { display: block; } a { color: inherit; }
small { opacity: .7; } .scroll { overflow-x: auto; } img { max-width: 100%; display: block; margin: .4rem 0 1.4rem; }
"""


def load_measured(measured: Mapping[str, Path], names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the reports of measured subjects, in the order of their names.

    Raises:
        EvaluationError: one of ``names`` was not measured.
    """
    folders = measured if names is None else measured_of(measured, names)
    return [
        json.loads((folders[name] / "report.json").read_text(encoding="utf-8")) | {"name": name}
        for name in (sorted(folders) if names is None else names)
    ]


def measured_of(measured: Mapping[str, Path], names: Sequence[str]) -> dict[str, Path]:
    """Return the folders of the named subjects.

    Raises:
        EvaluationError: one of them was not measured.
    """
    missing = [name for name in names if name not in measured]
    if missing:
        raise EvaluationError(f"{len(missing)} of {len(names)} subjects were not measured, first {missing[0]}")
    return {name: measured[name] for name in names}


def all_rows(reports: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of all subjects."""
    return [row for report in reports for row in report["rows"]]


def outcome(rows: Sequence[Row]) -> dict[str, Any]:
    """Return how many photos were measured, and which were not and why: nothing is dropped silently."""
    photos = {(row["person"], row["photo"]): row for row in rows}
    refused = [row for row in photos.values() if row["status"] != "done"]
    return {
        "people": len({row["person"] for row in rows}),
        "photos": len(photos),
        "not_reconstructed": [
            {"person": row["person"], "photo": row["photo"], "reason": row["reason"]} for row in refused
        ],
    }


def relit_metrics(reports: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return every number of the set `relit`.

    Raises:
        EvaluationError: no photo was reconstructed, or a group has no photo that was.
    """
    rows = all_rows(reports)
    methods = list(dict.fromkeys(str(row["method"]) for row in rows if row["status"] == "done"))
    if not methods:
        raise EvaluationError("no photo of the set was reconstructed")
    tables = {
        geometry: {
            method: summarise(select(rows, method=method, geometry=geometry, true_light_strength=False), True)
            for method in methods
        }
        for geometry in ("fitted", "true")
    }
    fitted = select(rows, geometry="fitted", true_light_strength=False)
    return {
        "set": "relit",
        **facts,
        **outcome(rows),
        "tables": tables,
        "strata": _strata(fitted, methods),
        "oracle_of": _oracle_method(rows),
        "oracles": _oracles(rows),
        "minus_prior": _minus_prior(fitted, methods),
    }


def _strata(rows: Sequence[Row], methods: Sequence[str]) -> dict[str, Any]:
    """Return the means of people with plain and with marked skin, and how many there are."""
    strata = {}
    for name in ("plain", "marked"):
        chosen = [row for row in rows if row["stratum"] == name]
        tables = {method: summarise(select(chosen, method=method), False) for method in methods}
        strata[name] = {"people": len({row["person"] for row in chosen}), "methods": tables}
    return strata


def _oracles(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the summary of one method with estimated and true geometry and light strength."""
    oracles = {}
    for geometry in ("fitted", "true"):
        for true_light in (False, True):
            name = f"{geometry} geometry, {'true' if true_light else 'estimated'} light strength"
            chosen = select(rows, geometry=geometry, true_light_strength=true_light, method=_oracle_method(rows))
            oracles[name] = summarise(chosen, True)
    return oracles


def _minus_prior(rows: Sequence[Row], methods: Sequence[str]) -> dict[str, Any]:
    """Return each method's metrics minus those of the prior alone, photo by photo: what looking at the photo gains."""
    if "prior" not in methods:
        return {}
    return {
        method: {
            "mean": {
                name: paired_difference(rows, method, "prior", name).as_dict()
                for name in ("delta_e_aligned", "delta_e", "relight_psnr", "relight_psnr_aligned", "ita_error")
            }
        }
        for method in methods
        if method != "prior"
    }


def _oracle_method(rows: Sequence[Row]) -> str:
    """Return the method that was also measured with the true light strength."""
    return next(str(row["method"]) for row in rows if row.get("true_light_strength"))


def geometry_metrics(reports: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the vertex errors of the fit, one row a photo."""
    rows = all_rows(reports)
    photos = {(row["person"], row["photo"]): row for row in select(rows, geometry="fitted")}
    names = ("person", "group", "vertex_mean_mm", "vertex_median_mm", "vertex_p90_mm")
    kept = [{name: row[name] for name in names} for row in photos.values()]
    summary = summarise(kept, False)
    groups = {
        group.name: summarise([row for row in kept if row["group"] == group.name], False)["mean"]
        for group in ITA_GROUPS
    }
    return {"set": "geometry", **facts, **outcome(rows), "tables": {"fitted": {"fit": summary}}, "groups": groups}


def topic_sections(tables: Mapping[str, Mapping[str, Any]], prefix: str = "") -> list[tuple[str, str]]:
    """Return a titled table for each topic that the tables say something about."""
    return [
        ((prefix + title).capitalize(), table_html(tables, names))
        for title, names in TOPICS.items()
        if any(name in row["mean"] for row in tables.values() for name in names)
    ]


def table_html(tables: Mapping[str, Mapping[str, Any]], metrics: Sequence[str], part: str = "mean") -> str:
    """Return a table: a row a method, a column a metric, with 95 % intervals."""
    columns = [name for name in metrics if tables and all(name in row[part] for row in tables.values())]
    head = "".join(f"<th>{html.escape(METRICS[name].label)}</th>" for name in columns)
    best = {
        name: _best(METRICS[name], {key: row[part][name]["value"] for key, row in tables.items()}) for name in columns
    }
    body = ""
    for method, row in tables.items():
        cells = ""
        for name in columns:
            marked = "best" if method in best[name] else ""
            cells += f'<td class="{marked}">{_with_interval(METRICS[name], row[part][name])}</td>'
        body += f"<tr><td>{html.escape(method)}</td>{cells}</tr>"
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'


def group_table_html(tables: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """Return a table of a metric by ITA group."""
    head = "".join(f"<th>{group.name} {group.label}</th>" for group in ITA_GROUPS)
    body = ""
    for method in tables:
        cells = ""
        for group in ITA_GROUPS:
            column = {name: other["groups"][metric][group.name] for name, other in tables.items()}
            marked = "best" if method in _best(METRICS[metric], column) else ""
            cells += f'<td class="{marked}">{column[method]:.{METRICS[metric].decimals}f}</td>'
        body += f"<tr><td>{html.escape(method)}</td>{cells}</tr>"
    return (
        f'<div class="scroll"><table><tr><th>{html.escape(METRICS[metric].label)}</th>{head}</tr>{body}</table></div>'
    )


def tone_table_html(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return average, bias, score and worst group of the ITA error."""
    names = ("average", "bias", "score", "worst_group")
    metric = Metric("°")
    head = "".join(f"<th>{name.replace('_', ' ')}, °</th>" for name in names)
    body = ""
    for method, row in tables.items():
        body += f"<tr><td>{html.escape(method)}</td>"
        body += "".join(f"<td>{_with_interval(metric, row['tone'][name])}</td>" for name in names) + "</tr>"
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'


def _best(metric: Metric, column: Mapping[str, float]) -> set[str]:
    if metric.smaller_is_better is None:
        return set()
    value = (min if metric.smaller_is_better else max)(column.values())
    return {name for name, other in column.items() if other == value}


def _with_interval(metric: Metric, interval: Mapping[str, float]) -> str:
    digits = metric.decimals
    low, high = f"{interval['low']:.{digits}f}", f"{interval['high']:.{digits}f}"
    return f"{interval['value']:.{digits}f} <small>{low} to {high}</small>"


def relit_page(metrics: Mapping[str, Any], pictures: Mapping[str, Path], plot_png: bytes) -> str:
    """Return the page of the set `relit`."""
    fitted, true = metrics["tables"]["fitted"], metrics["tables"]["true"]
    columns = list(METRICS)
    strata = metrics["strata"]
    sections = [
        *topic_sections(fitted, "whole pipeline from the photo: "),
        *(
            (f"{name.capitalize()} skin, {part['people']} people", table_html(part["methods"], _STRATUM_COLUMNS))
            for name, part in strata.items()
        ),
        ("Skin tone as FAIR counts it, whole pipeline", tone_table_html(fitted)),
        (f"Skin tone of {metrics['oracle_of']} with oracles", tone_table_html(metrics["oracles"])),
        *(
            (f"{METRICS[name].label} by ITA group, whole pipeline", group_table_html(fitted, name))
            for name in ("delta_e_aligned", "relight_psnr", "ita_error")
        ),
        *topic_sections(true, "with true geometry: "),
        (f"All measures of {metrics['oracle_of']} with oracles", table_html(metrics["oracles"], columns)),
        ("Minus the prior alone, photo by photo", table_html(metrics["minus_prior"], columns)),
        ("By ITA group", _image(plot_png)),
        (
            "Pictures: photo, truth, then " + ", ".join(fitted) + " (albedo; relit; CIEDE2000, red from 15)",
            pictures_html(pictures),
        ),
    ]
    return page("relit", metrics, sections)


def page(title: str, metrics: Mapping[str, Any], sections: Sequence[tuple[str, str]]) -> str:
    """Return a self-contained HTML page of titled sections; says how many photos were left out and why."""
    refused = metrics.get("not_reconstructed", [])
    notes = "".join(
        f"<li>{html.escape(str(item['person']))}, photo {html.escape(str(item['photo']))}: "
        f"{html.escape(item['reason'])}</li>"
        for item in refused
    )
    contents = "".join(f'<a href="#s{number}">{html.escape(name)}</a>' for number, (name, _) in enumerate(sections))
    body = "".join(
        f'<h2 id="s{number}">{html.escape(name)}</h2>{content}' for number, (name, content) in enumerate(sections)
    )
    counts = f"{metrics['people']} people, {metrics['photos']} photos, {len(refused)} not reconstructed"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><p>{counts}. Intervals: 95 % bootstrap over people. "
        f"Bold: best of its column.</p><ul>{notes}</ul><nav>{contents}</nav>{body}</html>\n"
    )


def counts_html(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return a table of how many faces came out in each ITA group, a row a method."""
    head = "".join(f"<th>{group.name} {group.label}</th>" for group in ITA_GROUPS)
    body = ""
    for method, row in counts.items():
        body += f"<tr><td>{html.escape(method)}</td>" + "".join(f"<td>{row[g.name]}</td>" for g in ITA_GROUPS) + "</tr>"
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'


def pictures_html(pictures: Mapping[str, Path]) -> str:
    """Return pictures one below the other, each under its name."""
    return "".join(f"<p>{html.escape(name)}</p>{_image(path.read_bytes())}" for name, path in pictures.items())


def _image(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def truth_hash(folders: Sequence[Path]) -> str:
    """Return one hash of the descriptions (which hold the files' hashes) of a set's people."""
    digest = hashlib.sha256()
    for folder in folders:
        digest.update((folder / "report.json").read_bytes())
    return digest.hexdigest()
