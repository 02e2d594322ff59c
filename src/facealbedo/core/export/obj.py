"""Write a scene as Wavefront OBJ with its material library: for tools that read no glTF."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from facealbedo.core.export.scene import Image, Material, MeshNode

_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg"}


def write_obj(nodes: Sequence[MeshNode], *, name: str = "face") -> dict[str, bytes]:
    """Return the files of a scene: ``<name>.obj``, ``<name>.mtl`` and the pictures that its materials use.

    Metres, +y up, texture coordinates with v up (as OBJ has them), objects at their place in the scene. Morph targets
    have no place in OBJ and are left out.
    """
    materials: dict[str, Material] = {}
    buffer = io.StringIO()
    buffer.write(f"# facealbedo; metres, +y up\nmtllib {name}.mtl\n")
    offset, uv_offset = 1, 1
    for node in nodes:
        buffer.write(f"o {node.name}\n")
        for primitive in node.primitives:
            known = materials.setdefault(primitive.material.name, primitive.material)
            if known != primitive.material:
                raise ValueError(f"two different materials are named {known.name!r}")
            buffer.write(f"g {node.name}_{known.name}\nusemtl {known.name}\n")
            positions = primitive.positions.astype(np.float64) + np.asarray(node.translation)
            _write_rows(buffer, "v", positions, "%.6f")
            _write_rows(buffer, "vn", primitive.normals, "%.5f")
            if primitive.uv is not None:
                _write_rows(buffer, "vt", np.stack([primitive.uv[:, 0], 1.0 - primitive.uv[:, 1]], axis=1), "%.6f")
            _write_faces(buffer, primitive.triangles, offset, uv_offset if primitive.uv is not None else None)
            offset += len(positions)
            uv_offset += 0 if primitive.uv is None else len(positions)
    pictures = {material.base_image for material in materials.values() if material.base_image is not None}
    return {
        f"{name}.obj": buffer.getvalue().encode(),
        f"{name}.mtl": _material_library(materials).encode(),
        **{_file_name(image): image.data for image in sorted(pictures, key=lambda image: image.name)},
    }


def _write_rows(buffer: io.StringIO, key: str, values: np.ndarray, number: str) -> None:
    line = f"{key} " + " ".join([number] * values.shape[1]) + "\n"
    buffer.write((line * len(values)) % tuple(values.reshape(-1).tolist()))


def _write_faces(buffer: io.StringIO, triangles: np.ndarray, offset: int, uv_offset: int | None) -> None:
    corners = triangles + offset
    if uv_offset is None:
        columns, corner = np.stack([corners, corners], axis=2), "%d//%d"
    else:
        columns, corner = np.stack([corners, triangles + uv_offset, corners], axis=2), "%d/%d/%d"
    line = "f " + " ".join([corner] * 3) + "\n"
    buffer.write((line * len(triangles)) % tuple(columns.reshape(-1).tolist()))


def _material_library(materials: dict[str, Material]) -> str:
    lines = ["# facealbedo; Kd is linear reflectance, map_Kd is sRGB"]
    for material in materials.values():
        red, green, blue = material.base_colour
        # Beckmann-like exponent of a roughness: alpha = roughness^2, exponent = 2 / alpha^2 - 2.
        exponent = min(max(2.0 / material.roughness**4 - 2.0, 0.0), 1000.0)
        reflectance = ((material.ior - 1) / (material.ior + 1)) ** 2
        lines += [
            f"\nnewmtl {material.name}",
            f"Kd {red:.4f} {green:.4f} {blue:.4f}",
            f"Ks {reflectance:.4f} {reflectance:.4f} {reflectance:.4f}",
            f"Ns {exponent:.2f}",
            f"Ni {material.ior:.3f}",
            "illum 2",
        ]
        if material.base_image is not None:
            lines.append(f"map_Kd {_file_name(material.base_image)}")
    return "\n".join(lines) + "\n"


def _file_name(image: Image) -> str:
    return f"{image.name}.{_EXTENSIONS[image.mime_type]}"
