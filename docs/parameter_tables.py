"""A hook of mkdocs: tables of every parameter, from the models that validate them."""

from __future__ import annotations

import importlib
from typing import Any

from pydantic import BaseModel

PAGE = "reference/parameters.md"
FILES = ("reconstruct", "prepare", "fabricate", "tone", "pigment", "train", "ablate", "evaluate", "export")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Append a section a parameter file, and in it a table a model."""
    if page.file.src_uri != PAGE:
        return markdown
    return "\n".join([markdown, *(line for name in FILES for line in _section(name))])


def _section(name: str) -> list[str]:
    module = importlib.import_module(f"facealbedo.params.{name}")
    lines = ["", f"## {name}", "", (module.__doc__ or "").strip(), ""]
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__:
            lines += _table(value)
    return lines


def _table(model: type[BaseModel]) -> list[str]:
    lines = [f"### {model.__name__}", "", (model.__doc__ or "").strip(), ""]
    lines += ["| name | default | bounds | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "" if isinstance(field.default, BaseModel | dict | tuple) else f"`{field.default}`"
        bounds = ", ".join(str(rule) for rule in field.metadata) or str(field.annotation).replace("typing.", "")
        bounds = "" if bounds.startswith("<class") else f"`{bounds}`".replace("|", "\\|")
        lines.append(f"| `{name}` | {default} | {bounds} | {field.description or ''} |")
    return [*lines, ""]
