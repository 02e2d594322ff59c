from __future__ import annotations

import hashlib
import json

import pytest

from facealbedo.core.export.manifest import ManifestError, decode_manifest, differences, encode_manifest

FILES = {"albedo.png": b"pixels", "maps/shading.png": b""}
INPUTS = [{"name": "p.jpg", "kind": "photo", "sha256": "ab"}]


def manifest(**facts: object) -> bytes:
    return encode_manifest("face", INPUTS, FILES, facts)


def hashes() -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


def test_the_same_arguments_give_the_same_bytes_in_any_order() -> None:
    other = encode_manifest("face", INPUTS, dict(reversed(FILES.items())), {"b": 1, "a": 2})
    assert manifest(a=2, b=1) == other


def test_known_hash_of_an_empty_file() -> None:
    entry = json.loads(manifest())["outputs"]["maps/shading.png"]
    assert entry == {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "bytes": 0}


def test_what_was_written_is_read_and_agrees() -> None:
    content = decode_manifest(manifest(parameters={"x": float("nan")}))
    assert content["inputs"] == INPUTS
    assert content["parameters"] == {"x": None}
    assert differences(content, hashes()) == []


def test_each_kind_of_difference_is_named() -> None:
    found = {"albedo.png": "0" * 64, "new.txt": "0" * 64}
    rows = [(row.kind, row.name) for row in differences(decode_manifest(manifest()), found)]
    assert rows == [("altered", "albedo.png"), ("missing", "maps/shading.png"), ("extra", "new.txt")]


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"[" * 100_000, b"{}", b'{"schema": "facealbedo.manifest", "schema_version": 9}']
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_manifest(data)


def test_a_change_of_the_manifest_itself_is_found() -> None:
    with pytest.raises(ManifestError, match="altered"):
        decode_manifest(manifest().replace(b"p.jpg", b"q.jpg"))
