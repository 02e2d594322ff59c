"""The contact sheet, read back by an HTML parser."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

import pytest

from facealbedo.core.export.report import FaceRow
from facealbedo.core.export.sheet import NUMBER_COLUMNS, PREVIEW_PICTURES, build_index

VOID = {"meta", "img", "input", "br", "link"}
FILES = {
    name: f"f 1/{name}"
    for name in ("preview.jpg", "photo.jpg", "overlay.png", "texture.png", "albedo.png", "shading.png", "relit.png")
} | {"face.glb": "f 1/face.glb", "report.json": "f 1/report.json"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "&lt;b&gt; & \u202e \x00",
    "{{7*7}} ${7*7} {Z}",
]


class Page(HTMLParser):
    """Collects tags with their attributes and the text, and checks that tags are closed in order."""

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(data.decode("utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"doubled attribute in {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def good_row(name: str = "one", **numbers: float) -> FaceRow:
    section = {"fit": {"nme_percent": 1.234, "yaw_degrees": -20.4}}
    tone = {"maps": {"albedo_ita_degrees": 31.0, "albedo_ita_group": "light", "albedo_srgb": "#c08060"}}
    return FaceRow(name, f"{name}.jpg", "done", "", section | tone | numbers, FILES)


def assert_harmless(page: Page) -> None:
    assert len(page.scripts) == 1
    assert len(page.all("script")) == 1
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "form", "base", "link"}
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in {"src", "href"}:
                assert value is not None
                assert value.startswith("./"), value
    rows = [attributes for attributes in page.all("div") if attributes.get("class") == "row"]
    assert all(attributes["data-status"] in {"done", "rejected", "failed"} for attributes in rows)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str) -> None:
    tone = {"albedo_ita_degrees": 3.0, "albedo_ita_group": text, "albedo_srgb": text}
    numbers = {"fit": {"nme_percent": float("nan")}, "maps": tone}
    rows = [
        FaceRow(text, text, "done", text, numbers, {name: f"{text}/{name}" for name in FILES}),
        FaceRow(text, text, "failed", text),
        FaceRow(text, text, "rejected", text, files={"photo.jpg": text}),
    ]
    page = Page(build_index(rows, title=text, facts={text: text}, limits=[text]))
    assert_harmless(page)
    shown = text.replace("\x00", "")
    assert shown.strip("\u202e ") in page.text.replace("\ufffd", "")
    assert all("url(" not in (attributes.get("style") or "") for _, attributes in page.tags)


def test_policy_allows_only_the_page_s_own_script() -> None:
    page = Page(build_index([good_row()]))
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_a_face_shows_all_its_pictures_and_links() -> None:
    page = Page(build_index([good_row()]))
    links = [attributes for attributes in page.all("a") if "data-picture" in attributes]
    assert [link["data-picture"] for link in links] == [n.rsplit(".", 1)[0] for _, n in PREVIEW_PICTURES] + ["relit"]
    assert [link["href"] for link in links][1] == "./f%201/overlay.png"
    images = [image for image in page.all("img") if image.get("src")]
    assert len(images) == 5 + 8
    assert {image["src"] for image in images} == {"./f%201/preview.jpg"}
    assert all(image["loading"] == "lazy" for image in images)
    assert {"./f%201/face.glb", "./f%201/report.json"} <= {link["href"] for link in page.all("a")}
    for text in ("1.23", "-20", "31°", "light", "1 reconstructed"):
        assert text in page.text


def test_columns_that_nobody_has_are_left_out_and_gaps_are_dashes() -> None:
    rows = [good_row(), FaceRow("bad", "b.jpg", "rejected", "no face found")]
    page = Page(build_index(rows))
    sorted_by = [attributes["data-sort"] for attributes in page.all("div") if "data-sort" in attributes]
    assert sorted_by == ["id", "maps.albedo_ita_degrees", "fit.nme_percent", "fit.yaw_degrees"]
    assert "no face found" in page.text
    assert page.text.count("\u2013") == 3
    cells = [attributes for attributes in page.all("div") if attributes.get("data-key") == "fit.yaw_degrees"]
    assert [cell["data-value"] for cell in cells] == ["-20.4", ""]


def test_every_row_has_a_cell_for_every_sortable_column() -> None:
    page = Page(build_index([good_row("a"), good_row("b"), FaceRow("c", "c", "failed", "r")]))
    keys = [attributes["data-sort"] for attributes in page.all("div") if "data-sort" in attributes]
    found = [attributes["data-key"] for attributes in page.all("div") if "data-key" in attributes]
    assert found == keys * 3


def test_an_empty_run_is_a_page_too() -> None:
    page = Page(build_index([]))
    assert_harmless(page)


def test_same_rows_same_bytes_and_labels_are_unique() -> None:
    rows = [good_row("a"), good_row("b")]
    assert build_index(rows) == build_index(rows)
    assert len({column.key for column in NUMBER_COLUMNS}) == len(NUMBER_COLUMNS)
