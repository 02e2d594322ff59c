"""The journal survives being cut off at any byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.datasets.journal import JournalDataset, JournalError, append_journal, read_journal

ENTRIES = [{"id": "a", "n": 1}, {"id": "b", "text": "line\nend ü"}, {"id": "c", "list": [1, 2]}]


@given(cut=st.integers(min_value=0, max_value=120))
@settings(deadline=None)  # it waits for the disk
def test_cut_anywhere_loses_at_most_the_last_entry(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    append_journal(path, ENTRIES)
    content = path.read_bytes()
    kept = content[: min(cut, len(content))]
    path.write_bytes(kept)
    whole = kept.count(b"\n")
    entries = read_journal(path)
    # A line that lacks nothing but its line end still counts.
    assert entries in (ENTRIES[:whole], ENTRIES[: whole + 1])
    append_journal(path, [{"id": "new"}])
    assert read_journal(path) == [*ENTRIES[:whole], {"id": "new"}]


def test_damage_inside_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"id": 1}\nnot json\n{"id": 2}\n')
    with pytest.raises(JournalError, match="line 2"):
        read_journal(path)
    path.write_text("[1]\n")
    with pytest.raises(JournalError, match="line 1"):
        read_journal(path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(JournalError, match="cannot read"):
        read_journal(path)


def test_dataset_loads_nothing_before_the_first_save(tmp_path: Path) -> None:
    dataset = JournalDataset(filepath=str(tmp_path / "new" / "j.jsonl"))
    assert dataset.load() == []
    dataset.save(ENTRIES[:1])
    dataset.save(ENTRIES[1:])
    assert dataset.load() == ENTRIES


def test_results_beside_a_file_of_that_name_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(JournalError, match=r"notes.txt is a file: choose a folder"):
        read_journal(tmp_path / "notes.txt" / "journal.jsonl")
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
