"""What marks are drawn with: a surface in millimetres, random numbers in a fixed order, noise, spots and blobs.

Used by the benchmark alone. Positions are those of the mean face (x to the subject's left, y up, z out of the face,
origin between the eyeballs), so that a mark is as large in millimetres wherever it lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.skin_maps import smoothstep, solid_noise

Map = Float[Tensor, "height width"]
Point = Float[Tensor, "3"]
# A spot is stamped into a window of this many texels to each side.
_WINDOW = 12


@dataclass(frozen=True)
class Canvas:
    """The surface of one face and its random numbers.

    Attributes:
        prior: places on the face.
        points_mm: surface point of each texel.
        generator: on the CPU.
        darkness: ITA group, 0 very light to 5 dark; some marks look different on dark skin.
    """

    prior: AlbedoPrior
    points_mm: Float[Tensor, "3 height width"]
    generator: torch.Generator
    darkness: int

    @classmethod
    def of(cls, prior: AlbedoPrior, resolution: int, generator: torch.Generator, darkness: int) -> Canvas:
        """Return the canvas of a map of ``resolution`` texels a side."""
        return cls(prior, 1000 * prior.positions(resolution), generator, darkness)

    @property
    def resolution(self) -> int:
        """Texels a side."""
        return self.points_mm.shape[-1]

    def field(self, name: str) -> Map:
        """Return a soft place of the prior."""
        return self.prior.field(name, self.resolution)

    def uniform(self, low: float, high: float) -> float:
        """Draw a number."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def chance(self, share: float) -> bool:
        """Toss a coin that shows heads with a probability of ``share``."""
        return self.uniform(0, 1) < share

    def count(self, low: int, high: int) -> int:
        """Draw a whole number, both ends included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def side(self) -> float:
        """Draw -1 or 1."""
        return 1.0 if self.chance(0.5) else -1.0

    def noise(self, grain_mm: float, stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Map:
        """Smooth noise of mean 0 and variance 1 over the surface; ``stretch`` > 1 draws it out along an axis."""
        return self.noise_at(self.points_mm / self.points_mm.new_tensor(stretch)[:, None, None], grain_mm)

    def noise_at(self, points_mm: Float[Tensor, "3 height width"], grain_mm: float) -> Map:
        """Smooth noise at other points than the surface's."""
        return solid_noise(points_mm / 1000, grain_mm / 1000, self.generator, 1, 1)[0, 0]

    def blob(self, x: float, y: float, width: float, height: float) -> Map:
        """Gaussian about a place of the front, sigmas in millimetres; seen from the front."""
        along, down, out = self.points_mm
        distance = ((along - x) / width).square() + ((down - y) / height).square()
        return torch.exp(-0.5 * distance) * smoothstep(-45.0, -20.0, out)

    def patch(self, centre: Point, radius_mm: float, ragged: float, edge: float) -> Map:
        """A patch about a point with a wandering border: ``ragged`` is its wander, ``edge`` its softness, in radii."""
        distance = (self.points_mm - centre[:, None, None]).square().sum(0).sqrt() / radius_mm
        wander = ragged * (0.75 * self.noise(0.45 * radius_mm) + 0.35 * self.noise(max(1.6, 0.14 * radius_mm)))
        return smoothstep(-edge, edge, 1 - distance + wander)

    def draw_texel(self, weight: Map | None = None) -> int:
        """Draw a texel (number in the flattened map); without ``weight`` anywhere on the inner skin."""
        chosen = self.field("core_skin") if weight is None else weight
        return int(torch.multinomial(chosen.flatten().clamp(min=0), 1, generator=self.generator))

    def point(self, texel: int) -> Point:
        """Return the surface point of a texel."""
        return self.points_mm.flatten(1)[:, texel]

    def spots(
        self, texels: list[int], radii_mm: list[float], heights: list[float], stretch: float = 1.0
    ) -> Float[Tensor, "height width"]:
        """Return a map of soft oval spots, turned at random; where they overlap the highest counts."""
        total = torch.zeros_like(self.points_mm[0])
        for texel, radius, height in zip(texels, radii_mm, heights, strict=True):
            row, column = divmod(texel, self.resolution)
            window = (
                slice(max(0, row - _WINDOW), row + _WINDOW + 1),
                slice(max(0, column - _WINDOW), column + _WINDOW + 1),
            )
            angle, longer = self.uniform(0, math.pi), self.uniform(1, stretch)
            across, down, out = self.points_mm[(slice(None), *window)] - self.point(texel)[:, None, None]
            major = math.cos(angle) * across + math.sin(angle) * down
            minor = math.cos(angle) * down - math.sin(angle) * across
            length = ((major / longer).square() + minor.square() + out.square()).sqrt()
            total[window] = torch.maximum(total[window], height * smoothstep(1.35, 0.55, length / radius))
        return total
