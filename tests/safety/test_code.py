"""What the source may not do, found by reading it: unpickle, run strings, listen to the world, call the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PICKLE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NETWORK_MODULES = {"requests", "urllib.request", "http.client", "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib"}
# pandas and NumPy readers that may unpickle, and builtins that run strings.
FORBIDDEN_CALLS = ("read_pickle", "to_pickle", "hub.load", "load_state_dict_from_url", "urlopen")


def name_of(node: ast.expr) -> str:
    """Return a dotted name, as `torch.load`; empty for what is none."""
    if isinstance(node, ast.Attribute):
        inner = name_of(node.value)
        return f"{inner}.{node.attr}" if inner else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def objections(tree: ast.AST) -> Iterator[str]:
    """Yield what a module does that it may not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] in PICKLE_MODULES or name.name in NETWORK_MODULES:
                    yield f"line {node.lineno}: import {name.name}"
        elif isinstance(node, ast.ImportFrom):
            # The exception's class alone can unpickle nothing.
            names = {name.name for name in node.names} - {"UnpicklingError"}
            if names and ((node.module or "").split(".")[0] in PICKLE_MODULES or node.module in NETWORK_MODULES):
                yield f"line {node.lineno}: from {node.module} import {sorted(names)}"
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[str]:
    name = name_of(node.func)
    given = {word.arg: word.value for word in node.keywords}
    if isinstance(node.func, ast.Name) and name in {"eval", "exec"}:
        yield f"line {node.lineno}: {name}()"
    if any(name == word or name.endswith(f".{word}") for word in FORBIDDEN_CALLS):
        yield f"line {node.lineno}: {name}()"
    if name == "torch.load" and not _is(given.get("weights_only"), True):
        yield f"line {node.lineno}: torch.load without weights_only=True"
    if name in {"np.load", "numpy.load"} and "allow_pickle" in given and not _is(given["allow_pickle"], False):
        yield f"line {node.lineno}: numpy.load with allow_pickle"
    if name in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"}:
        yield f"line {node.lineno}: {name}()"
    if name in {"os.system", "os.popen"} or _is(given.get("shell"), True):
        yield f"line {node.lineno}: a shell"


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_a_module_does_nothing_forbidden(path: Path) -> None:
    assert list(objections(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "import torch\ntorch.load('x')",
        "torch.load('x', weights_only=False)", "np.load('x', allow_pickle=True)", "pd.read_pickle('x')",
        "import urllib.request", "subprocess.run('x', shell=True)", "yaml.load('x')", "eval('1')",
        "torch.hub.load('x', 'y')",
    ],
)  # fmt: skip
def test_the_scan_finds_what_it_looks_for(code: str) -> None:
    assert list(objections(ast.parse(code)))


def test_catalogs_hold_nothing_pickled() -> None:
    for path in (ROOT / "conf").rglob("*.yml"):
        assert "pickle" not in path.read_text(encoding="utf-8").lower(), path.name


def test_servers_listen_on_this_machine_alone() -> None:
    """Every command that serves something names the loopback address; nothing names all addresses."""
    files = [
        ROOT / "Makefile",
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "conf").rglob("*.yml"),
        *SOURCES,
    ]
    serving = ("kedro viz run", "mlflow ui", "mlflow server", "mkdocs serve", "http.server")
    for path in files:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        assert "0.0.0.0" not in text, path.name  # noqa: S104 - it is looked for
        for line in text.splitlines():
            # Plain `mkdocs serve` and `mlflow ui` in a sentence without options is a name, no command.
            if any(f"{word} --" in line or f"bin/{word}" in line for word in serving):
                assert "127.0.0.1" in line, f"{path.name}: {line}"
