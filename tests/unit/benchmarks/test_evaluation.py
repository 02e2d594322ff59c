"""A network that was not measured again keeps its numbers, unless what surrounds it moved."""

from __future__ import annotations

from typing import Any

import pytest

from facealbedo.benchmarks.evaluation import with_absent_methods


def numbers(code: str, values: dict[str, float], config: str = "c") -> dict[str, Any]:
    built_in = {
        name: "built in" if name in ("prior", "quotient", "separation") else f"hash of {name}" for name in values
    }
    rows = {
        name: {"mean": {"error": {"value": value, "low": value - 0.2, "high": value + 0.2}}, "worst": "VI"}
        for name, value in values.items()
    }
    strata = {"marked": {"people": 3, "methods": rows}}
    return {
        "code": code, "truth_sha256": f"truth of {code}", "people": 36, "photos": 180, "seed": 7, "config": config,
        "methods": built_in, "tables": {"fitted": rows}, "strata": strata,
    }  # fmt: skip


BEFORE = numbers("a", {"prior": 3.0, "quotient": 4.0, "default": 2.0, "paper": 3.5})


def test_what_was_known_stays_with_the_code_that_measured_it():
    new = numbers("b", {"prior": 3.03, "quotient": 4.0, "default": 1.9})
    found = with_absent_methods(new, BEFORE)
    assert list(found["methods"]) == ["prior", "quotient", "default", "paper"]
    for rows in (found["tables"]["fitted"], found["strata"]["marked"]["methods"]):
        assert {name: row["mean"]["error"]["value"] for name, row in rows.items()} == {
            "prior": 3.03, "quotient": 4.0, "default": 1.9, "paper": 3.5,
        }  # fmt: skip
    assert found["code"] == "b"
    assert found["kept_from"] == {"paper": {"code": "a", "truth_sha256": "truth of a"}}
    later = with_absent_methods(numbers("c", {"prior": 3.0, "quotient": 4.0}), found)
    assert {name: source["code"] for name, source in later["kept_from"].items()} == {"paper": "a", "default": "b"}


@pytest.mark.parametrize(
    "new",
    [
        numbers("b", {"prior": 3.1, "quotient": 4.0, "default": 1.9}),
        numbers("b", {"prior": 3.0, "quotient": 4.0, "default": 1.9}, config="other"),
        numbers("b", {"default": 1.9}),
    ],
    ids=["a_method_moved", "another_set", "nothing_to_compare"],
)
def test_numbers_of_something_else_do_not_stay(new):
    assert with_absent_methods(new, BEFORE) == new


def test_a_measurement_of_everything_is_taken_as_it_is():
    assert with_absent_methods(BEFORE, numbers("x", {"prior": 9.0})) == BEFORE
    assert with_absent_methods(BEFORE, {}) == BEFORE


def test_what_judges_pigment_may_move():
    before = numbers("a", {"prior": 3.0, "separation": 2.9, "paper": 3.5})
    found = with_absent_methods(numbers("b", {"prior": 3.0, "separation": 2.0}), before)
    assert found["kept_from"] == {"paper": {"code": "a", "truth_sha256": "truth of a"}}
    assert found["tables"]["fitted"]["separation"]["mean"]["error"]["value"] == 2.0
