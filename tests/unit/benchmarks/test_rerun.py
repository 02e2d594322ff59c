"""The page about DVC shows what the command wrote, and nothing else."""

from __future__ import annotations

import json

import pytest

from facealbedo.benchmarks.rerun import OUTPUT, PAGE, SHOWN, filled


def test_the_page_and_the_numbers_are_of_one_run() -> None:
    seconds = json.loads(OUTPUT.read_text())["seconds"]
    page = PAGE.read_text()
    assert f"the first call took {seconds['first']} s" in page
    for stage, taken in seconds["stages"].items():
        assert f"| {stage} | {taken:.0f} |" in page
    for arguments in SHOWN.values():
        assert f"$ dvc {' '.join(arguments)}\n" in page


def test_a_block_is_replaced_and_the_rest_stays() -> None:
    page = "a\n<!-- rerun:x -->\nold\n<!-- /rerun:x -->\nb\n"
    new = filled(page, "x", "| t |")
    assert new == "a\n<!-- rerun:x -->\n\n| t |\n\n<!-- /rerun:x -->\nb\n"
    assert filled(new, "x", "| t |") == new
    with pytest.raises(ValueError):
        filled(page, "y", "")
