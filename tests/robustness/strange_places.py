"""File names and folders that are wrong in every way we could think of."""

from __future__ import annotations

import os
import socket
from pathlib import Path

# Each holds the same good face. Bytes, because not every name is text.
HOSTILE_NAMES: dict[str, bytes] = {
    "line end": b"two\nlines.jpg",
    "carriage return": b"over\rwritten.jpg",
    "escape sequence": b"\x1b[31mred\x1b[0m.jpg",
    "html": b"<img src=x onerror=alert(1)>.jpg",
    "quotes": b"\"'`onload='alert(2).jpg",
    "formula": b"=HYPERLINK(0).jpg",
    "command": b"$(touch harmed);`touch harmed`.jpg",
    "option": b"-o.jpg",
    "two dashes": b"--texture-px=7.jpg",
    "percent": b"%s%n%d%2e%2e%2f.jpg",
    "braces": b"{0.__class__}.jpg",
    "dots": b"a...jpg",
    "backslashes": b"a\\..\\..\\windows.jpg",
    "not utf-8": b"\xff\xfe\x80.jpg",
    "right to left": "\u202egpj.exe.jpg".encode(),
    "emoji": "😀.jpg".encode(),
    "combining": "é".encode() + b".jpg",
    "combined": "e\u0301".encode() + b".jpg",
    "full width dots": "\uff0e\uff0e\uff0f.jpg".encode(),
    "255 bytes": b"n" * 251 + b".jpg",
    "space at the end": b"face .JPG",
    "device": b"CON.jpg",
    "journal": b"journal.jsonl.jpg",
    "staging": b"writing-x.jpg",
    "upper case": b"SAME.jpg",
    "lower case": b"same.jpg",
    "null in html": b"&#0;&lt;.jpg",
    "markdown": b"[a](javascript:alert(3)).jpg",
}


def write_hostile_names(folder: Path, content: bytes) -> int:
    """Write the content under every name, each in reach of the others; return how many."""
    for name in HOSTILE_NAMES.values():
        with open(os.path.join(os.fsencode(folder), name), "wb") as stream:  # noqa: PTH118, PTH123
            stream.write(content)
    return len(HOSTILE_NAMES)


def write_odd_places(folder: Path, content: bytes) -> int:
    """Fill a folder with links, pipes and the like around one readable photo; return how many things are odd."""
    (folder / "real.jpg").write_bytes(content)
    (folder / "again.jpg").symlink_to("again.jpg")
    (folder / "nowhere.jpg").symlink_to("missing.jpg")
    (folder / "endless.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    (folder / "above").symlink_to("..")
    (folder / "loop").mkdir()
    (folder / "loop" / "loop").symlink_to("../loop")
    (folder / ".hidden.jpg").write_bytes(content)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "deep").joinpath(*["d"] * 60).mkdir(parents=True)
    server = socket.socket(socket.AF_UNIX)
    try:
        # A socket's address holds about 100 bytes: it is bound by its name alone.
        before = Path.cwd()
        os.chdir(folder)
        try:
            server.bind("socket.jpg")
        finally:
            os.chdir(before)
    finally:
        server.close()
    return 10
