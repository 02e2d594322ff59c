"""Nodes of the `fabricate` pipeline."""

from __future__ import annotations

from collections.abc import Iterator

from facealbedo.params.fabricate import FabricateParams


def fabricate_photos(params: FabricateParams) -> Iterator[tuple[dict[str, bytes], dict[str, bytes]]]:
    """Yield each portrait as a PNG and its truth as a safetensors file, both by name."""
    from facealbedo.fabricated import fabricated_people

    for person in fabricated_people(params.count, params.seed, params.size_px, params.texture_px):
        yield {person.name: person.photo}, {person.name: person.truth}
