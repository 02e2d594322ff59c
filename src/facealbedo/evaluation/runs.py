"""What the nodes of the `evaluate` pipeline call: parameters in, files of people and photos or metrics out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from facealbedo.core.evaluate.gate import check_gate, gate
from facealbedo.core.evaluate.methods import Method, select_methods
from facealbedo.core.evaluate.path_tracer import TraceConfig
from facealbedo.core.evaluate.plots import bar_figure, figure_to_png, group_figure
from facealbedo.core.evaluate.relit_files import config_hash
from facealbedo.core.evaluate.relit_set import RelitConfig
from facealbedo.core.metrics.fair import score_fair
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.evaluation import multilight, portraits, relit
from facealbedo.evaluation.fair import read_fair
from facealbedo.evaluation.reports import (
    counts_html,
    geometry_metrics,
    load_measured,
    measured_of,
    page,
    pictures_html,
    relit_metrics,
    relit_page,
    table_html,
    topic_sections,
    truth_hash,
)
from facealbedo.evaluation.subjects import Laboratory, code_hash, read_weights
from facealbedo.params.evaluate import EvaluateParams, TraceParams

Files = dict[str, dict[str, bytes]]
Folders = Mapping[str, Path]
Report = tuple[dict[str, Any], bytes, Figure]
_PICTURE_ROWS = 12


def relit_config(params: EvaluateParams) -> RelitConfig:
    """Return the size of the set that is asked for."""
    chosen = params.relit[params.size]

    def work(trace: TraceParams) -> TraceConfig:
        return TraceConfig(samples=trace.samples, gloss_samples=trace.gloss_samples)

    return RelitConfig(
        people_per_group=chosen.people_per_group,
        lights=chosen.lights,
        targets=chosen.targets,
        photo_px=chosen.photo_px,
        target_px=chosen.target_px,
        photo_trace=work(chosen.photo_trace),
        target_trace=work(chosen.target_trace),
        seed=chosen.seed,
    )


def make_people(params: EvaluateParams, before: Folders) -> Iterator[Files]:
    """Yield the missing people of `relit`, one after the other; nothing when all are there."""
    for name, files in relit.make_missing_people(relit_config(params), params.size, before):
        yield {name: files}


def measure_relit(params: EvaluateParams, people: Folders, before: Folders) -> Iterator[Files]:
    """Yield the measurement of each person with the methods that it was not measured with by this code.

    A new network is measured alone; what is known of the other methods stays.
    """
    methods, identities = chosen_methods(params)
    lab = Laboratory(params.detector)
    for folder in relit.people_of(relit_config(params), params.size, people):
        keys = {
            name: relit.measurement_key(folder, [identity, str(name == params.oracle), params.detector])
            for name, identity in identities.items()
        }
        known = _keys(before.get(folder.name))
        if known == keys:
            continue
        missing = {name: method for name, method in methods.items() if known.get(name) != keys[name]}
        measured = relit.measure_person(lab, folder, missing, params.oracle)
        earlier = relit.read_folder(before[folder.name]) if known else {}
        files = relit.merge_methods(measured, earlier, list(methods))
        report = json.loads(files["report.json"]) | {"keys": keys}
        yield {folder.name: files | {"report.json": json.dumps(report, indent=1).encode()}}


def report_relit(params: EvaluateParams, people: Folders, measured: Folders) -> Report:
    """Return metrics, page and plot of `relit`."""
    names = _names(params)
    reports = load_measured(measured, names)
    metrics = relit_metrics(reports, facts(params, people))
    fitted = metrics["tables"]["fitted"]
    figure = group_figure(fitted, ("delta_e_aligned", "relight_psnr", "ita_error"))
    captions = {report["name"]: _caption(report) for report in reports}
    pictures = {captions[name]: path for name, path in _shown(names, measured).items()}
    return metrics, relit_page(metrics, pictures, figure_to_png(figure)).encode(), figure


def _caption(report: Mapping[str, Any]) -> str:
    """Say who a person is: group and marks."""
    row = report["rows"][0]
    return f"{report['name']}: group {row['group']}, {', '.join(row['marks']).replace('_', ' ') or 'plain skin'}"


def report_geometry(params: EvaluateParams, people: Folders, measured: Folders) -> Report:
    """Return metrics, page and plot of the fit's vertex errors."""
    metrics = geometry_metrics(load_measured(measured, _names(params)), facts(params, people))
    columns = ["vertex_mean_mm", "vertex_median_mm", "vertex_p90_mm"]
    groups = {name: {"mean": values} for name, values in metrics["groups"].items()}
    sections = [
        ("All photos", table_html(metrics["tables"]["fitted"], columns)),
        ("By ITA group", table_html(groups, columns)),
    ]
    figure = bar_figure({name: row["mean"] for name, row in groups.items()}, ("vertex_mean_mm", "vertex_median_mm"))
    return metrics, page("geometry", metrics, sections).encode(), figure


def measure_multilight(params: EvaluateParams) -> Iterator[Files]:
    """Yield the measurement of each person of a folder; nothing without one: the people of `relit` are measured."""
    if params.multilight is None:
        return
    methods, _ = chosen_methods(params)
    people = multilight.list_people(Path(params.multilight).expanduser())
    for name, files in multilight.measure_people(Laboratory(params.detector), people, methods):
        yield {name: files}


def report_multilight(params: EvaluateParams, people: Folders, relit_measured: Folders, measured: Folders) -> Report:
    """Return metrics, page and plot of `multilight`."""
    if params.multilight is None:
        chosen = measured_of(relit_measured, _names(params))
    else:
        listed = multilight.list_people(Path(params.multilight).expanduser())
        chosen = measured_of(measured, [person.name for person in listed])
    metrics = multilight.multilight_metrics(chosen, Laboratory(params.detector), facts(params, people))
    return _simple_report("multilight", metrics, ("spread", "spread_one_colour", "relative_spread"))


def measure_portraits(params: EvaluateParams, before: Folders) -> Iterator[Files]:
    """Yield the measurement of each photo that is not measured by this code and these methods."""
    methods, identities = chosen_methods(params)
    sources = portraits.portrait_sources(params.portraits, params.max_portraits)
    lab = Laboratory(params.detector)
    for name, files in portraits.measure_missing(lab, sources, methods, identities, before):
        yield {name: files}


def report_portraits(params: EvaluateParams, measured: Folders) -> Report:
    """Return metrics, page and plot of `portraits`."""
    names = [source.id for source in portraits.portrait_sources(params.portraits, params.max_portraits)]
    metrics = portraits.portrait_metrics(load_measured(measured, names), facts(params, None))
    counts = [("Faces by estimated ITA group", counts_html(metrics["ita_distribution"]))]
    plotted = ("psnr", "light_correlation", "identity_cosine")
    return _simple_report("portraits", metrics, plotted, counts, _shown(names, measured))


def report_fair(params: EvaluateParams) -> Report:
    """Return metrics, page and plot of the FAIR benchmark; says so when the user brought none."""
    base = {"set": "fair", **facts(params, None), "people": 0, "photos": 0, "not_reconstructed": []}
    if params.fair is None:
        metrics = base | {"status": "not measured: no folder with the benchmark was given", "tables": {"fitted": {}}}
        return metrics, page("fair", metrics, [("Not measured", metrics["status"])]).encode(), bar_figure({}, ())
    cases = read_fair(Path(params.fair).expanduser())
    scores = score_fair(cases)
    metrics = base | {
        "people": len({case.person for case in cases}),
        "photos": len(cases),
        "scores": scores,
        "tables": {"fitted": {"prediction": {"mean": scores["mean"]}}},
    }
    return _simple_report("fair", metrics, ("delta_e", "ita_error"))


def compare_with_reference(
    params: EvaluateParams, metrics: Mapping[str, Any], reference: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the gate's lines; none when nothing is gated, or the reference has nothing of this size.

    Raises:
        EvaluationError: the reference is of another set; a gated method was not measured.
    """
    if not params.gated:
        return []
    known = reference.get(str(metrics["set"]), {}).get(str(metrics["size"]), {})
    return gate(metrics, known, list(params.gated))


def enforce(lines: list[dict[str, Any]]) -> None:
    """End the run when a gated number got worse than the reference's interval."""
    check_gate(lines)


def chosen_methods(params: EvaluateParams) -> tuple[dict[str, Method], dict[str, str]]:
    """Return the methods by name, and what each depends on besides the code.

    Raises:
        EvaluationError: an unknown method, missing weights, or an oracle that is none of the methods.
    """
    weights = read_weights(params.weights)
    methods = select_methods(params.methods, weights)
    if params.oracle not in methods:
        raise EvaluationError(f"the oracle {params.oracle} is not among the methods {', '.join(methods)}")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in weights.items()}
    return methods, {name: hashes.get(name, "built in") for name in methods}


def facts(params: EvaluateParams, people: Folders | None) -> dict[str, Any]:
    """Return what a metrics file says about its own making."""
    known: dict[str, Any] = {"size": params.size, "code": code_hash(), "methods": chosen_methods(params)[1]}
    if people is not None:
        folders = relit.people_of(relit_config(params), params.size, people)
        known |= {
            "seed": params.relit[params.size].seed,
            "config": config_hash(relit_config(params)),
            "truth_sha256": truth_hash(folders),
        }
    return known


def _shown(names: Sequence[str], measured: Folders) -> dict[str, Path]:
    """Return the pictures of some subjects, evenly chosen."""
    chosen = names[:: max(1, len(names) // _PICTURE_ROWS)]
    return {name: measured[name] / "relit.png" for name in chosen if (measured[name] / "relit.png").is_file()}


def _simple_report(
    title: str,
    metrics: dict[str, Any],
    plotted: tuple[str, ...],
    more: Sequence[tuple[str, str]] = (),
    pictures: Mapping[str, Path] | None = None,
) -> Report:
    tables = metrics["tables"]["fitted"]
    sections = [*topic_sections(tables), *more]
    if pictures:
        caption = "Pictures: photo, then for " + ", ".join(tables) + " the render over the photo and the albedo"
        sections.append((caption, pictures_html(pictures)))
    figure = bar_figure({name: row["mean"] for name, row in tables.items()}, plotted)
    return metrics, page(title, metrics, sections).encode(), figure


def _names(params: EvaluateParams) -> list[str]:
    return [relit.person_id(params.size, number) for number in range(relit_config(params).people)]


def _keys(folder: Path | None) -> dict[str, str]:
    """Return the keys of what was measured before, by method; none when there is nothing whole."""
    if folder is None or not (folder / "report.json").is_file():
        return {}
    return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")).get("keys", {}))
