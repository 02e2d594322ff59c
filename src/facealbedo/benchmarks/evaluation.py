"""Take the numbers of the last evaluation over as the committed reference.

    python -m facealbedo.benchmarks.evaluation [FOLDER]

Reads ``FOLDER/<set>/metrics.json`` (FOLDER: data/08_reporting/evaluation) and writes
``docs/benchmarks/evaluation_reference.json``: what the gate compares with and README's tables are made of. A network
that was not measured this time keeps its numbers, where the set is the same and the methods that show it did not move.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealbedo.core.errors import FaceAlbedoError

REFERENCE = Path("docs") / "benchmarks" / "evaluation_reference.json"
FOLDER = Path("data") / "08_reporting" / "evaluation"
SETS = ("relit", "geometry", "multilight", "portraits")
_FACTS = (
    "people",
    "photos",
    "seed",
    "config",
    "truth_sha256",
    "code",
    "methods",
    "lpips",
    "ita_distribution",
    "oracle_of",
)
_DIGITS = 4
# Largest difference between two measurements of the same, as a part of the bootstrap interval: sums in another order
# (more threads) round differently, and a fit may follow.
_SAME = 0.1
_BUILT_IN = "built in"
# Built in, but it judges pigment as the networks do, and moves when that gets better: it does not show the set.
_JUDGING = "separation"
# What makes a set the same set.
_SET = ("people", "photos", "seed", "config")

logger = logging.getLogger(__name__)


def take_over(folder: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reference with the numbers of every set that was measured; other sizes and sets stay.

    Raises:
        FaceAlbedoError: nothing was measured.
    """
    reference = {name: dict(sizes) for name, sizes in known.items()}
    found = [name for name in SETS if (folder / name / "metrics.json").is_file()]
    if not found:
        raise FaceAlbedoError(f"there are no metrics in {folder}; run `kedro run --pipeline evaluate` first")
    for name in found:
        metrics = json.loads((folder / name / "metrics.json").read_text(encoding="utf-8"))
        kept = {key: metrics[key] for key in _FACTS if key in metrics}
        kept["not_reconstructed"] = len(metrics["not_reconstructed"])
        for part in ("tables", "strata", "oracles", "minus_prior"):
            if part in metrics:
                kept[part] = rounded(metrics[part])
        sizes = reference.setdefault(name, {})
        sizes[metrics["size"]] = with_absent_methods(kept, sizes.get(metrics["size"], {}))
    return reference


def with_absent_methods(new: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return a set's numbers with those of the methods that were measured before only, if the others did not move.

    ``kept_from`` says by which code, and on which truth, each of them was measured.
    """
    theirs = before.get("methods", {})
    rows, known = (numbers.get("tables", {}).get("fitted", {}) for numbers in (new, before))
    absent = [name for name in theirs if name in known and name not in rows]
    common = [name for name, what in theirs.items() if _shows_the_set(name, what) and name in known and name in rows]
    same_set = all(new.get(fact) == before.get(fact) for fact in _SET)
    unmoved = all(_agree(rows[name]["mean"], known[name]["mean"]) for name in common)
    if not absent or not common or not same_set or not unmoved:
        return dict(new)
    source = {fact: before[fact] for fact in ("code", "truth_sha256") if fact in before}
    kept_from = before.get("kept_from", {})
    return {
        **_joined(new, before, frozenset(theirs)),
        "kept_from": {name: kept_from.get(name, source) for name in absent},
    }


def _shows_the_set(name: str, what: str) -> bool:
    return what == _BUILT_IN and name != _JUDGING


def _joined(new: Mapping[str, Any], before: Mapping[str, Any], methods: frozenset[str]) -> dict[str, Any]:
    """Add what stands under methods in ``before`` alone, in its order, wherever methods are keys."""
    together = {
        key: _joined(value, before[key], methods)
        if isinstance(value, Mapping) and isinstance(before.get(key), Mapping)
        else value
        for key, value in new.items()
    }
    if not methods & set(new):
        return together
    return {key: together.get(key, value) for key, value in before.items()} | together


def _agree(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Say whether two rows of means have the same measures, and none has moved by a good part of its interval."""
    return set(first) == set(second) and all(
        abs(value["value"] - second[name]["value"]) <= _SAME * (value["high"] - value["low"])
        for name, value in first.items()
    )


def rounded(tree: Any) -> Any:
    """Return numbers in nested lists and mappings with four decimals."""
    if isinstance(tree, Mapping):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [rounded(value) for value in tree]
    return round(tree, _DIGITS) if isinstance(tree, float) else tree


def main() -> None:
    """Write the reference."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    known = json.loads(REFERENCE.read_text(encoding="utf-8")) if REFERENCE.is_file() else {}
    reference = take_over(folder, known)
    REFERENCE.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")
    logger.info("%s: %s", REFERENCE, ", ".join(f"{name} ({', '.join(sizes)})" for name, sizes in reference.items()))


if __name__ == "__main__":
    main()
