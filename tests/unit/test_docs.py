"""The pages build without a warning, load nothing from elsewhere, and list what the program really says."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from facealbedo.core.imaging.decoding import Reason
from tests.robustness.trial import DOCUMENTED

ROOT = Path(__file__).resolve().parents[2]
# Attributes by which a page makes a browser load something at once; links that are clicked may lead anywhere.
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Loads(HTMLParser):
    """Collects what a page loads from other machines."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(LOADING.get(tag, ""), "") or ""
        if tag == "link" and values.get("rel") in {"canonical", "next", "prev", "edit"}:
            return
        if address.startswith(("http:", "https:", "//")):
            self.found.append(f"<{tag}> {address}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(target)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return target


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 12
    for page in pages:
        reader = Loads()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.found == [], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_pages_name_no_place_of_this_machine(site: Path) -> None:
    for page in (*site.rglob("*.html"), *site.rglob("*.json")):
        text = page.read_text(encoding="utf-8")
        assert str(ROOT) not in text, page.name
        assert str(Path.home()) + "/" not in text, page.name


def test_the_reference_holds_docstrings(site: Path) -> None:
    assert "Reconstruct the faces of photos" in (site / "reference" / "api.html").read_text()
    assert "Side of the texture maps" in (site / "reference" / "parameters.html").read_text()


def test_every_reason_is_documented() -> None:
    table = (ROOT / "docs" / "reasons.md").read_text()
    beginnings = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    for reason in Reason:
        assert any(reason.sentence.startswith(words) for words in beginnings if words), reason
    for words in DOCUMENTED:
        assert any(line.startswith(words.rstrip(": ")) for line in beginnings), words


def test_files_and_targets_that_pages_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        text = page.read_text()
        for target in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", text, re.M):
            assert re.search(rf"^{max(target)}:", makefile, re.M), f"{page.name}: make {max(target)}"
        for place in re.findall(r"`((?:src|conf|tests|notebooks)/[\w./-]+\.\w+)`", text):
            assert (ROOT / place).exists(), f"{page.name}: {place}"
