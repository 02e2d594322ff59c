"""Tables and gate: known answers, and refusals in place of silent averages."""

from __future__ import annotations

import numpy as np
import pytest

from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.evaluate.gate import check_gate, gate
from facealbedo.core.evaluate.plots import figure_to_png, group_figure
from facealbedo.core.evaluate.summary import paired_difference, select, summarise
from facealbedo.core.metrics.masks import EvaluationError


def rows(shift: float = 0.0, method: str = "quotient") -> list[dict[str, object]]:
    """Two people a group, two photos each; a group's error is its number plus ``shift``."""
    return [
        {
            "status": "done",
            "person": f"{group.name}{person}",
            "photo": photo,
            "group": group.name,
            "method": method,
            "ita_error": number + shift + (0.5 if person else -0.5),
            "delta_e": 1.0 + photo,
        }
        for number, group in enumerate(ITA_GROUPS, 1)
        for person in range(2)
        for photo in range(2)
    ]


def test_groups_and_fair_numbers() -> None:
    summary = summarise(rows(), by_group=True)
    assert summary["groups"]["ita_error"] == pytest.approx({group.name: n for n, group in enumerate(ITA_GROUPS, 1)})
    tone = {name: interval["value"] for name, interval in summary["tone"].items()}
    assert tone["average"] == pytest.approx(3.5)
    assert tone["bias"] == pytest.approx(np.std(range(1, 7), ddof=1))
    assert tone["worst_group"] == pytest.approx(6.0)
    assert summary["mean"]["delta_e"]["value"] == pytest.approx(1.5)


def test_what_only_some_people_have_is_averaged_over_those() -> None:
    marked = [row | {"marks_kept": 0.25} for row in rows() if row["group"] == "II"]
    summary = summarise([row for row in rows() if row["group"] != "II"] + marked, by_group=True)
    assert summary["mean"]["marks_kept"]["value"] == pytest.approx(0.25)
    assert "marks_kept" not in summary["groups"]
    assert "delta_e" in summary["groups"]


def test_an_empty_group_and_no_rows_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"no face of ITA group VI \(dark\)"):
        summarise([row for row in rows() if row["group"] != "VI"], by_group=True)
    with pytest.raises(EvaluationError, match="nothing to summarise"):
        summarise([], by_group=False)


def test_selection_leaves_out_what_was_not_measured() -> None:
    refused = {"status": "rejected", "person": "x", "photo": 0, "reason": "no face was found"}
    assert len(select([*rows(), refused], group="II")) == 4
    assert refused not in select([*rows(), refused])


def test_methods_are_compared_photo_by_photo() -> None:
    both = rows() + rows(shift=0.25, method="prior")
    difference = paired_difference(both, "prior", "quotient", "ita_error")
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25))
    with pytest.raises(EvaluationError, match="same photos"):
        paired_difference(both[:-1], "prior", "quotient", "ita_error")


def metrics(shift: float) -> dict[str, object]:
    table = {"quotient": summarise(rows(shift), by_group=True)}
    return {"config": "a1", "people": 12, "tables": {"fitted": table}}


def test_the_gate_opens_for_chance_and_closes_for_harm() -> None:
    check_gate(gate(metrics(0.0), metrics(0.0), ["quotient"]))
    within = gate(metrics(0.2), metrics(0.0), ["quotient"])
    assert all(line["passed"] for line in within)
    worse = gate(metrics(2.0), metrics(0.0), ["quotient"])
    assert [line["number"] for line in worse if not line["passed"]] == ["worst_group"]
    with pytest.raises(EvaluationError, match=r"quotient: worst_group of the ITA error 8.00° \(was 6.00°"):
        check_gate(worse)


def test_groups_of_one_person_take_the_interval_of_the_mean() -> None:
    def of_one(shift: float) -> dict[str, object]:
        chosen = [row for row in rows(shift) if str(row["person"]).endswith("0")]
        return {"config": "a1", "people": 6, "tables": {"fitted": {"quotient": summarise(chosen, by_group=True)}}}

    reference = of_one(0.0)
    before = reference["tables"]["fitted"]["quotient"]
    assert before["tone"]["worst_group"]["high"] == before["tone"]["worst_group"]["value"] == pytest.approx(5.5)
    mean = before["mean"]["ita_error"]
    worst = gate(of_one(0.1), reference, ["quotient"])[0]
    assert worst["passed"]
    assert worst["limit"] == pytest.approx(5.5 + mean["high"] - mean["value"])
    assert not gate(of_one(3.0), reference, ["quotient"])[0]["passed"]


def test_a_reference_of_another_set_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"of another set \(people differ\)"):
        gate(metrics(0.0), metrics(0.0) | {"people": 6}, ["quotient"])
    before = {"tables": metrics(0.0)["tables"]}
    with pytest.raises(EvaluationError, match=r"of another set \(config, people differ\)"):
        gate(metrics(0.0), before, ["quotient"])


def test_new_methods_pass_and_missing_ones_do_not() -> None:
    assert gate(metrics(0.0), {}, ["quotient"]) == []
    with pytest.raises(EvaluationError, match="asks for default"):
        gate(metrics(0.0), metrics(0.0), ["default"])


def test_plots_are_pictures() -> None:
    png = figure_to_png(group_figure(metrics(0.0)["tables"]["fitted"], ("ita_error", "delta_e")))
    assert png.startswith(b"\x89PNG")
