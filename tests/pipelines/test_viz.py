"""Kedro-Viz: layers in one direction, previews, and a static site that names no machine path and needs no network."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import networkx
import numpy as np
import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project, pipelines
from kedro.framework.startup import bootstrap_project
from PIL import Image

from facealbedo.viz_site import scrub

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "tests" / "node"


def test_layers_follow_each_other() -> None:
    """A circle among layers makes Kedro-Viz show none of them."""
    bootstrap_project(ROOT)
    configure_project("facealbedo")
    loader = OmegaConfigLoader(str(ROOT / "conf"), base_env="base", default_run_env="local")
    layers = {
        name: entry.get("metadata", {}).get("kedro-viz", {}).get("layer") for name, entry in loader["catalog"].items()
    }
    assert all(layers.values()), [name for name, layer in layers.items() if not layer]
    graph = networkx.DiGraph()
    for pipeline in dict(pipelines).values():
        for node in pipeline.nodes:
            graph.add_edges_from((source, target) for source in node.inputs for target in node.outputs)
    order = networkx.DiGraph()
    for source, layer in layers.items():
        for target in networkx.descendants(graph, source) if source in graph else ():
            if layers.get(target) not in {None, layer}:
                order.add_edge(layer, layers[target])
    assert list(networkx.simple_cycles(order)) == []


def test_paths_and_foreign_addresses_are_taken_out(tmp_path: Path) -> None:
    project = tmp_path / "somebody" / "project"
    site = tmp_path / "site"
    (site / "api").mkdir(parents=True)
    picture = bytes(range(256))
    (site / "picture.png").write_bytes(picture)
    (site / "api" / "main").write_text(json.dumps({"filepath": f"{project}/data/x.png", "root": str(project)}))
    (site / "index.html").write_text(
        '<head><link href="https://fonts.example/a.css" rel="x"></head><a href="https://b">b</a>'
    )
    scrub(site, project)
    assert json.loads((site / "api" / "main").read_text()) == {"filepath": "data/x.png", "root": "."}
    page = (site / "index.html").read_text()
    assert "fonts.example" not in page
    assert "Content-Security-Policy" in page
    assert 'href="https://b"' in page
    assert (site / "picture.png").read_bytes() == picture


# Datasets that are shown, their pipelines, and where an example lies: photo, atlas, render, pictures, plot, two tables.
SHOWN = {
    "face_crops": ("preprocess", "03_primary/crops/anna.jpg"),
    "exported_faces": ("export", "07_model_output/export/anna/albedo.png"),
    "reconstructed_faces": ("reconstruct", "07_model_output/reconstruct/anna/relit.png"),
    "train_pictures": ("train", "08_reporting/train/held_out.png"),
    "geometry.plot": ("evaluate", "08_reporting/evaluation/geometry/plot.png"),
    "train_history": ("train", "08_reporting/train/history.csv"),
    "reconstruct_summary": ("reconstruct", "07_model_output/reconstruct/summary.csv"),
}


def write_example(path: Path, number: int) -> None:
    """Write a picture of one colour, or a small table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        path.write_text(f"step,loss\n1,{number}.5\n")
    else:
        Image.new("RGB", (300, 200), (30 * number, 90, 60)).save(path)
        (path.parent / "report.json").write_text("{}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a copy of the project's tracked files, with a picture or table of each kind as data."""
    project = tmp_path_factory.mktemp("viz") / "project"
    project.mkdir()
    for name in ("conf", "src", "pyproject.toml", ".telemetry"):
        source = ROOT / name
        shutil.copytree(source, project / name) if source.is_dir() else shutil.copy(source, project / name)
    for name, (_, place) in SHOWN.items():
        write_example(project / "data" / place, number=list(SHOWN).index(name))
    done = subprocess.run(
        [sys.executable, "-m", "facealbedo.viz_site"], cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return project / "build" / "viz"


@pytest.mark.slow
def test_the_site_names_no_place_of_this_machine(site: Path) -> None:
    content = json.loads((site / "api" / "main").read_text())
    shown = {pipeline["id"] for pipeline in content["pipelines"]}
    assert {"reconstruct", "train", "evaluate", "export"} <= shown
    project = str(site.parents[1]).encode()
    for path in site.rglob("*"):
        if path.is_file():
            assert project not in path.read_bytes(), path
            assert str(ROOT).encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_the_site_holds_previews_of_every_kind(site: Path) -> None:
    for number, (name, (pipeline, place)) in enumerate(SHOWN.items()):
        nodes = json.loads((site / "api" / "pipelines" / pipeline).read_text())["nodes"]
        (key,) = [node["id"] for node in nodes if node["name"] == name]
        shown = json.loads((site / "api" / "nodes" / key).read_text())
        if place.endswith(".csv"):
            assert shown["preview_type"] == "TablePreview", name
            assert shown["preview"]["data"] == [[1, number + 0.5]]
        else:
            assert shown["preview_type"] == "ImagePreview", name
            picture = Image.open(io.BytesIO(base64.b64decode(shown["preview"]))).convert("RGB")
            assert np.abs(np.subtract(picture.getpixel((9, 9)), (30 * number, 90, 60))).max() < 6, name


@pytest.mark.slow
@pytest.mark.browser
def test_the_site_opens_in_a_browser(site: Path) -> None:
    """Chromium draws the pipelines, and asks no other machine for anything."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium or not shutil.which("node") or not (NODE / "node_modules" / "playwright-core").is_dir():
        pytest.skip("needs Chromium, Node.js and playwright-core in tests/node")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        done = subprocess.run(
            ["node", "viz.mjs", chromium, address, json.dumps([[p, n] for n, (p, _) in SHOWN.items()])],
            cwd=NODE, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        server.shutdown()
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["foreign"] == []
    assert "reconstruct" in seen["text"].lower()
    for name, (_, place) in SHOWN.items():
        if place.endswith(".csv"):
            assert "loss" in seen["shown"][name]["text"], name
        else:
            assert seen["shown"][name]["pictures"] == [[300, 200]], name
