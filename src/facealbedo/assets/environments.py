"""Eighteen small environment maps that ship with the package.

Source: Poly Haven (https://polyhaven.com), CC0 1.0, as the npm package ``@pmndrs/assets`` 1.7.0 ships them (512 x 256
EXR). Shrunk here to 64 x 32 (energy kept, peaks not clamped, negative codec lobes cancelled or set to 0) and scaled
to a mean luminance of 1 over the sphere; ``scale`` is the factor that this took. Axes: `core.lighting.envmap`.

To build the file again from the unpacked EXRs (needs the ``OpenEXR`` package)::

    python -m facealbedo.assets.environments EXR_FOLDER environments.safetensors
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from facealbedo.assets import AssetError
from facealbedo.core.lighting.envmap import (
    EnvironmentMap,
    environment_from_array,
    project_to_sh,
    scale_to_mean_luminance,
)

ENVIRONMENTS_FILE = "environments.safetensors"
LICENCE = "CC0 1.0"
PROVENANCE = "Poly Haven, as shipped by npm @pmndrs/assets 1.7.0; shrunk to 64 x 32, scaled to mean luminance 1"
SH_ORDER = 4
HEIGHT = 32


@dataclass(frozen=True)
class EnvironmentSet:
    """Environment maps with their names.

    * ``maps``: mean luminance 1 over the sphere (world frame).
    * ``sh_radiance``: their SH to order 4, same scale.
    * ``scale``: what the original radiance was multiplied by.
    """

    names: tuple[str, ...]
    maps: EnvironmentMap
    sh_radiance: Float[Tensor, "batch 3 25"]
    scale: Float[Tensor, "batch"]

    def __getitem__(self, name: str) -> EnvironmentMap:
        """Return one map, as a batch of one."""
        return self.maps[self._place(name)]

    def sh(self, name: str, order: int = 2) -> Float[Tensor, "1 3 coeff"]:
        """Return one map's SH radiance."""
        return self.sh_radiance[self._place(name), :, : (order + 1) ** 2]

    def _place(self, name: str) -> slice:
        if name not in self.names:
            raise KeyError(f"no environment {name!r}; there are {', '.join(self.names)}")
        index = self.names.index(name)
        return slice(index, index + 1)


@lru_cache(maxsize=1)
def load_environments() -> EnvironmentSet:
    """Return the environments that ship with the package (CPU, float32)."""
    return environments_from_bytes((files("facealbedo.assets") / ENVIRONMENTS_FILE).read_bytes())


def environments_from_bytes(data: bytes) -> EnvironmentSet:
    """Read what `environments_to_bytes` wrote.

    Raises:
        AssetError: damaged, or of another format.
    """
    try:
        tensors = safetensors.torch.load(data)
        names = bytes(tensors["names"].tolist()).decode().split("\n")
        maps, harmonics, scale = tensors["radiance"].float(), tensors["sh_radiance"], tensors["scale"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AssetError(f"these are no environments: {error}") from error
    expected = {"radiance": (len(names), 3, HEIGHT, 2 * HEIGHT), "sh_radiance": (len(names), 3, (SH_ORDER + 1) ** 2)}
    for name, value in (("radiance", maps), ("sh_radiance", harmonics)):
        if tuple(value.shape) != expected[name] or not value.isfinite().all():
            raise AssetError(f"{name} of the environments is not finite or has another shape than {expected[name]}")
    return EnvironmentSet(names=tuple(names), maps=EnvironmentMap(maps), sh_radiance=harmonics, scale=scale)


def environments_to_bytes(pixels: dict[str, Float[Tensor, "height width 3"]]) -> bytes:
    """Shrink, scale and pack HDR images, in the order of their names."""
    names = sorted(pixels)
    shrunk = [environment_from_array(pixels[name].double(), HEIGHT).radiance for name in names]
    maps, scale = scale_to_mean_luminance(EnvironmentMap(torch.cat(shrunk)))
    return safetensors.torch.save(
        {
            "names": torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8),
            "radiance": maps.radiance.half(),
            "sh_radiance": project_to_sh(maps, SH_ORDER).float().contiguous(),
            "scale": scale.float(),
        },
        # One entry only: safetensors writes several in an unstable order, and equal maps must give equal bytes.
        metadata={"about": f"{PROVENANCE}. Licence: {LICENCE}."},
    )


def main(source: Path, target: Path) -> None:
    """Build the file from a folder of EXRs."""
    import OpenEXR

    paths = sorted(source.glob("*.exr"))
    if not paths:
        raise FileNotFoundError(f"no .exr files in {source}")
    pixels = {path.stem: torch.from_numpy(OpenEXR.File(str(path)).channels()["RGB"].pixels) for path in paths}
    target.write_bytes(environments_to_bytes(pixels))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
