"""Wrong values for every field of every parameter model."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

import facealbedo.params

NEVER_RIGHT: tuple[Any, ...] = (
    {"a": 1}, ["x", None], "no such choice", object(), b"\xff\xfe", math.nan, -1e300, 1j, "1; import os", lambda: 0,
)  # fmt: skip


def parameter_models() -> list[type[BaseModel]]:
    """Return every model of `facealbedo.params`."""
    found = {
        value
        for info in pkgutil.iter_modules(facealbedo.params.__path__)
        for _, value in inspect.getmembers(importlib.import_module(f"facealbedo.params.{info.name}"), inspect.isclass)
        if issubclass(value, BaseModel) and value.__module__.startswith("facealbedo.params")
    }
    return sorted(found, key=lambda model: model.__qualname__)


def wrong_values(field: FieldInfo) -> Iterator[Any]:
    """Return values that a field may not take."""
    free_text = "str" in str(field.annotation)
    takes_rows = any(word in str(field.annotation).lower() for word in ("tuple", "list", "dict", "mapping"))
    for value in NEVER_RIGHT:
        if free_text and isinstance(value, str | bytes):
            continue
        if takes_rows and isinstance(value, dict | list):
            continue
        yield value
    if "None" not in str(field.annotation):
        yield None


def objections() -> tuple[int, list[str]]:
    """Try every wrong value; return how many were tried, and a line for each that was not refused in words."""
    number, lines = 0, []
    for model in parameter_models():
        trials = [(name, value) for name, field in model.model_fields.items() for value in wrong_values(field)]
        for name, value in [*trials, ("no_such_field", 1), ("__class__", "x")]:
            number += 1
            try:
                model.model_validate({name: value})
            except ValidationError as error:
                if not any(name in problem["loc"] for problem in error.errors()):
                    lines.append(f"{model.__name__}.{name} = {value!r}: refused without its name")
            except Exception as error:  # which ones there are is what is being found out
                lines.append(f"{model.__name__}.{name} = {value!r}: {type(error).__name__}")
            else:
                lines.append(f"{model.__name__}.{name} = {value!r}: was taken")
    return number, lines
