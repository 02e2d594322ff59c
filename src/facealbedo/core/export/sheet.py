"""The contact sheet of a run: one static `index.html` that works from disk and loads nothing but its own pictures."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median
from urllib.parse import quote

from facealbedo.core.export.preview_lights import RELIT_LIGHTS
from facealbedo.core.export.report import FaceRow
from facealbedo.core.export.sheet_page import SCRIPT, STYLE

PREVIEW_FILE = "preview.jpg"
PHOTO_FILE = "photo.jpg"
RELIT_FILE = "relit.png"
# Square pictures of the preview, left to right, and the file that each one shows in full; the lights follow.
PREVIEW_PICTURES: tuple[tuple[str, str], ...] = (
    ("photo", PHOTO_FILE),
    ("overlay", "overlay.png"),
    ("texture", "texture.png"),
    ("albedo", "albedo.png"),
    ("shading", "shading.png"),
)
LINKED_FILES = ("face.glb", "face.obj", "report.json")
_MISSING = "\N{EN DASH}"
_HEX_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Column:
    """A number of the sheet: ``key`` is the dotted name in a row's numbers; ``hint`` says what it means."""

    key: str
    label: str
    unit: str
    digits: int
    hint: str


NUMBER_COLUMNS: tuple[Column, ...] = (
    Column("fit.nme_percent", "fit", "NME %", 2, "Landmark error over the size of the face, jaw line left out"),
    Column("fit.yaw_degrees", "yaw", "°", 0, "Turn of the head; positive: towards the picture's right"),
    Column("fit.pitch_degrees", "pitch", "°", 0, "Nod of the head"),
    Column("fit.face_px", "face", "px", 0, "Size of the face in the photo"),
    Column("maps.visible_percent", "seen", "%", 0, "Share of the skin's atlas that the photo shows"),
    Column(
        "tone.ita_error_expected_degrees",
        "tone",
        "\N{PLUS-MINUS SIGN} °",
        0,
        "Expected error of the skin tone, degrees ITA",
    ),
    Column("maps.overlay_error", "render", "of 255", 0, "Mean difference of render and photo on the skin, sRGB"),
    Column("maps.shading_contrast", "light", "max/min", 1, "Contrast of the shading over the seen skin"),
    Column("timing.total_s", "time", "s", 1, "From the decoded photo to the finished files"),
)
TONE_KEY, TONE_GROUP_KEY, TONE_COLOUR_KEY = "maps.albedo_ita_degrees", "maps.albedo_ita_group", "maps.albedo_srgb"


def build_index(
    rows: Sequence[FaceRow],
    *,
    title: str = "Faces",
    facts: Mapping[str, str] | None = None,
    limits: Sequence[str] = (),
    columns: Sequence[Column] = NUMBER_COLUMNS,
) -> bytes:
    """Return `index.html`: a row a face with its pictures, numbers and files, sortable, for light and dark rooms.

    Args:
        rows: faces and refused photos, in the order in which they are first shown. Pictures come from the row's
            ``preview.jpg`` (see `PREVIEW_PICTURES`) and open the full files; a row without one shows its reason.
        title: heading of the page.
        facts: further words for the header, such as the version; name → value.
        limits: sentences for the foot of the page.
        columns: numbers to show; a column that no row has is left out.
    """
    used = [column for column in columns if any(_number(row, column.key) is not None for row in rows)]
    tone = any(_number(row, TONE_KEY) is not None for row in rows)
    template = _grid_template(len(used), tone)
    parts = [
        _document_head(title, template),
        _page_header(rows, title, facts or {}),
        '<main class="sheet" role="table" aria-label="Faces">',
        _column_heads(used, tone),
        '<div class="body" role="rowgroup">',
        *(_row(row, used, tone) for row in rows),
        "</div></main>",
        _footer(limits),
        '<dialog aria-label="Picture"><div class="bar"><b></b><span></span>'
        '<span class="keys">arrow keys: other maps, other faces</span><button type="button">close</button></div>'
        '<img alt=""></dialog>',
        f"<script>{SCRIPT}</script></body></html>\n",
    ]
    return "\n".join(parts).encode("utf-8", errors="replace")


def _grid_template(n_numbers: int, tone: bool) -> str:
    strip = f"calc(var(--s) * {len(RELIT_LIGHTS) // 2} / 2 + 6px)"
    numbers = f" repeat({n_numbers}, var(--n))" if n_numbers else ""
    return f"150px repeat({len(PREVIEW_PICTURES)}, var(--s)) {strip}{' 104px' if tone else ''}{numbers}"


def _document_head(title: str, template: str) -> str:
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>:root {{ --columns: {template}; }}{STYLE}</style></head><body>"
    )


def _page_header(rows: Sequence[FaceRow], title: str, facts: Mapping[str, str]) -> str:
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "rejected", "failed")}
    words = {"done": "reconstructed", "rejected": "refused", "failed": "failed"}
    chips = [f"<span><b>{count}</b> {words[status]}</span>" for status, count in counts.items() if count]
    errors = [value for row in rows if isinstance(value := _number(row, "fit.nme_percent"), int | float)]
    if errors:
        chips.append(f"<span>median fit <b>{median(errors):.2f} %</b></span>")
    chips += [f"<span>{escape(name)} <b>{escape(str(value))}</b></span>" for name, value in facts.items()]
    options = "".join(f'<option value="{status}">{words[status]}</option>' for status, count in counts.items() if count)
    return (
        f'<header><h1>{escape(title)}</h1><div class="counts">{"".join(chips)}<span id="shown"></span></div>'
        '<div class="tools"><input type="search" id="find" placeholder="find" aria-label="Find">'
        f'<select id="only" aria-label="Status"><option value="">all</option>{options}</select>'
        '<label>size <input type="range" id="size" min="90" max="320" value="150"></label>'
        '<button type="button" id="theme">light / dark</button></div></header>'
    )


def _column_heads(columns: Sequence[Column], tone: bool) -> str:
    def head(key: str, label: str, unit: str, hint: str, kind: str) -> str:
        place = ' class="number"' if kind == "number" and key != TONE_KEY else ""
        return (
            f'<div role="columnheader" data-sort="{escape(key)}" data-kind="{kind}" aria-sort="none"{place}>'
            f'<button type="button" title="{escape(hint)}">{escape(label)}</button>'
            f'<span class="unit">{escape(unit)}</span></div>'
        )

    def plain_head(label: str, unit: str) -> str:
        return f'<div role="columnheader">{escape(label)}<span class="unit">{escape(unit)}</span></div>'

    units = {"photo": "crop", "overlay": "fit over photo", "texture": "unwrapped", "shading": "scaled"}
    heads = [head("id", "face", "", "Sort by name", "text")]
    heads += [plain_head(name, units.get(name, "")) for name, _ in PREVIEW_PICTURES]
    heads.append(plain_head("relit", ", ".join(RELIT_LIGHTS[:1]) + ", and seven more"))
    if tone:
        heads.append(head(TONE_KEY, "skin tone", "ITA °", "Individual typology angle of the albedo", "number"))
    heads += [head(column.key, column.label, column.unit, column.hint, "number") for column in columns]
    return f'<div class="row head" role="row">{"".join(heads)}</div>'


def _row(row: FaceRow, columns: Sequence[Column], tone: bool) -> str:
    pictures = PREVIEW_FILE in row.files
    cells = [_who(row)]
    cells += _picture_cells(row) if pictures else _reason_cells(row)
    if tone:
        cells.append(_tone_cell(row))
    cells += [_number_cell(row, column) for column in columns]
    return (
        f'<div class="row" role="row" data-status="{row.status}" data-id="{escape(row.id)}" '
        f'data-search="{escape(f"{row.id} {row.photo} {row.status} {row.reason}")}">{"".join(cells)}</div>'
    )


def _who(row: FaceRow) -> str:
    links = "".join(
        f'<a href="{_address(row.files[name])}">{escape(name.rsplit(".", 1)[1].upper())}</a>'
        for name in LINKED_FILES
        if name in row.files
    )
    note = f' · <span title="{escape(row.reason)}">{escape(row.reason)}</span>' if row.reason else ""
    words = {"done": "reconstructed", "rejected": "refused", "failed": "failed"}
    # The reason of a row without pictures stands where the pictures would be.
    note = note if PREVIEW_FILE in row.files else ""
    return (
        f'<div class="who" role="cell" data-key="id" data-value="{escape(row.id)}">'
        f'<div class="id">{escape(row.id)}</div>'
        f'<div class="photo" title="{escape(row.photo)}">{escape(row.photo)}</div>'
        f'<div class="status-{row.status}">{words[row.status]}{note}</div><div class="links">{links}</div></div>'
    )


def _picture_cells(row: FaceRow) -> list[str]:
    source = _address(row.files[PREVIEW_FILE])
    count = len(PREVIEW_PICTURES) + len(RELIT_LIGHTS)

    def image(index: int, text: str) -> str:
        offset = f"{100 * index / (count - 1):.4f}%"
        return f'<img loading="lazy" decoding="async" src="{source}" alt="{escape(text)}" style="--x: {offset}">'

    def link(name: str, css: str, style: str, content: str) -> str:
        title = name.rsplit(".", 1)[0]
        target = _address(row.files.get(name, row.files[PREVIEW_FILE]))
        return (
            f'<div role="cell"><a class="{css}" data-picture="{title}" title="{title}" href="{target}"{style}>'
            f"{content}</a></div>"
        )

    cells = [link(name, "tile", "", image(index, label)) for index, (label, name) in enumerate(PREVIEW_PICTURES)]
    lights = "".join(image(len(PREVIEW_PICTURES) + index, light) for index, light in enumerate(RELIT_LIGHTS))
    across = f' style="--across: {len(RELIT_LIGHTS) // 2}"'
    return [*cells, link(RELIT_FILE, "strip", across, lights)]


def _reason_cells(row: FaceRow) -> list[str]:
    photo = '<div role="cell"><div class="tile whole"></div></div>'
    if PHOTO_FILE in row.files:
        source = _address(row.files[PHOTO_FILE])
        photo = (
            f'<div role="cell"><a class="tile whole" data-picture="photo" title="photo" href="{source}">'
            f'<img loading="lazy" decoding="async" src="{source}" alt="photo"></a></div>'
        )
    span = len(PREVIEW_PICTURES)
    return [photo, f'<div role="cell" class="reason" style="grid-column: span {span}">{escape(row.reason)}</div>']


def _tone_cell(row: FaceRow) -> str:
    value = _number(row, TONE_KEY)
    numbers = row.flat_numbers()
    group, colour = numbers.get(TONE_GROUP_KEY), numbers.get(TONE_COLOUR_KEY)
    if not isinstance(value, int | float):
        return f'<div role="cell" class="missing" data-key="{TONE_KEY}" data-value="">{_MISSING}</div>'
    swatch = ""
    if isinstance(colour, str) and _HEX_COLOUR.fullmatch(colour):
        swatch = f'<div class="swatch" style="background: {colour}" title="mean skin albedo, sRGB {colour}"></div>'
    label = f"<small>{escape(group)}</small>" if isinstance(group, str) else ""
    return (
        f'<div role="cell" class="tone" data-key="{TONE_KEY}" data-value="{value!r}">{swatch}'
        f"<div>{value:.0f}°{label}</div></div>"
    )


def _number_cell(row: FaceRow, column: Column) -> str:
    value = _number(row, column.key)
    if not isinstance(value, int | float):
        return f'<div role="cell" class="number missing" data-key="{escape(column.key)}" data-value="">{_MISSING}</div>'
    return (
        f'<div role="cell" class="number" data-key="{escape(column.key)}" data-value="{value!r}">'
        f"{value:.{column.digits}f}</div>"
    )


def _footer(limits: Sequence[str]) -> str:
    if not limits:
        return ""
    return f"<footer><h2>Limits</h2><ul>{''.join(f'<li>{escape(limit)}</li>' for limit in limits)}</ul></footer>"


def _number(row: FaceRow, key: str) -> float | int | None:
    value = row.flat_numbers().get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _address(path: str) -> str:
    """Quote a relative address; a name with a colon must not look like a scheme, one with // like a host."""
    return escape("./" + quote(path.replace("\\", "/").lstrip("/")))
