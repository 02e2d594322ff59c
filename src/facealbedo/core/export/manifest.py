"""`manifest.json` of an asset: what it was made from, with what, and the hash of each of its files.

The hashes find damage and forgotten changes. They are no signature: whoever can write the folder can write them, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.export.report import LICENCES, plain

MANIFEST_FILE = "manifest.json"
MANIFEST_SCHEMA = "facealbedo.manifest"
MANIFEST_SCHEMA_VERSION = 1
_OWN_HASH = "manifest_sha256"


class ManifestError(FaceAlbedoError):
    """The content of a manifest is damaged, or none of this version."""


@dataclass(frozen=True)
class Difference:
    """One file of a folder that is not as its manifest says."""

    kind: Literal["altered", "missing", "extra"]
    name: str


def encode_manifest(
    face_id: str, inputs: Sequence[Mapping[str, Any]], files: Mapping[str, bytes], facts: Mapping[str, Any]
) -> bytes:
    """Return `manifest.json`; the same arguments give the same bytes.

    Args:
        face_id: name of the face in its run.
        inputs: what the asset was made from: ``name``, ``kind``, ``sha256`` each.
        files: content of every other file of the asset, by name.
        facts: further sections: models by hash, versions, parameters, code.
    """
    content = {
        "schema": MANIFEST_SCHEMA,
        "schema_version": MANIFEST_SCHEMA_VERSION,
        "id": face_id,
        "inputs": plain(inputs),
        "outputs": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in sorted(files.items())
        },
        **plain(facts),
        "licences": list(LICENCES),
    }
    return _encode({**content, _OWN_HASH: _own_hash(content)})


def decode_manifest(data: bytes) -> dict[str, Any]:
    """Return the content of a manifest.

    Raises:
        ManifestError: no JSON, of another version, or not as `encode_manifest` wrote it.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{MANIFEST_FILE} is no JSON") from error
    found = (content.get("schema"), content.get("schema_version")) if isinstance(content, dict) else None
    if found != (MANIFEST_SCHEMA, MANIFEST_SCHEMA_VERSION):
        raise ManifestError(f"{MANIFEST_FILE} is no {MANIFEST_SCHEMA} of version {MANIFEST_SCHEMA_VERSION}")
    claimed = content.pop(_OWN_HASH, None)
    if claimed != _own_hash(content):
        raise ManifestError(f"{MANIFEST_FILE} was altered: its own hash is another one")
    return content


def differences(manifest: Mapping[str, Any], found: Mapping[str, str]) -> list[Difference]:
    """Compare the outputs that a manifest names with the files that are there.

    Args:
        manifest: from `decode_manifest`.
        found: SHA-256 of every file of the folder, by its name relative to it, the manifest left out.
    """
    expected = {name: entry["sha256"] for name, entry in manifest["outputs"].items()}
    rows = [Difference("missing", name) for name in expected if name not in found]
    rows += [Difference("extra", name) for name in found if name not in expected]
    rows += [Difference("altered", name) for name, digest in found.items() if expected.get(name, digest) != digest]
    return sorted(rows, key=lambda row: (row.name, row.kind))


def _own_hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_encode(content)).hexdigest()


def _encode(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return (text + "\n").encode("ascii")
