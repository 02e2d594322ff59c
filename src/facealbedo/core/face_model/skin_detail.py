"""Faces with the detail that no small basis holds: blotches, freckles, moles, blemishes, strands, stubble, lipstick.

The linear prior gives tone and regions; this adds what makes a map look like skin and, unlike the basis, is not
symmetric. All draws come from a CPU generator in a fixed order that depends on neither resolution nor device: the same
seed shows the same face at 256², 1024², on a CPU or a GPU. Lengths in metres on the mean face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.face_model.albedo_prior import LAYERS, LOG_GAIN_UNIT, AlbedoPrior, resize_half, unfold_mirror
from facealbedo.core.face_model.skin import EUMELANIN_SHARE_BOUNDS, OXYGENATION_BOUNDS, skin_colour
from facealbedo.core.face_model.skin_maps import brow_coordinates, smoothstep, solid_noise
from facealbedo.core.types import TensorRecord

DETAIL_LAYERS = (*LAYERS, "lipstick")

# Blotches: grain of the noise (m), spread of log melanin, spread of log haemoglobin.
OCTAVES = (
    (0.030, 0.055, 0.080),
    (0.009, 0.060, 0.090),
    (0.0028, 0.055, 0.080),
    (0.0013, 0.045, 0.055),
    (0.0006, 0.035, 0.045),
)
# Noise with this many of the prior's texels a grain is drawn at the prior's resolution and enlarged.
COARSE_TEXELS = 3.0
# Linear albedo of lip colours, from nude to berry.
LIPSTICKS = ((0.42, 0.19, 0.15), (0.46, 0.11, 0.13), (0.40, 0.035, 0.045), (0.26, 0.028, 0.05), (0.16, 0.022, 0.035))
GREY_HAIR = (0.37, 0.345, 0.31)


@dataclass(frozen=True)
class DetailConfig:
    """How often what happens.

    Args:
        freckled: share of faces with freckles.
        mole_rate: mean number of moles.
        blemish_rate: mean number of spots of red.
        made_up: share of beardless faces with lipstick.
        grey_haired: share of faces whose hair is greying.
        strength: factor on all blotches.
        patch_rate: mean number of patches a face: brown, pale or red, sharp or soft, up to some centimetres wide.
    """

    freckled: float = 0.25
    mole_rate: float = 1.2
    blemish_rate: float = 2.0
    made_up: float = 0.25
    grey_haired: float = 0.15
    strength: float = 1.0
    patch_rate: float = 0.0


@dataclass(frozen=True)
class DetailedAlbedo(TensorRecord):
    """Fabricated albedo maps with what they were made from.

    * ``uv_albedo``: linear diffuse reflectance over the atlas, continued beyond its border.
    * ``layer_alpha``: opacity of `DETAIL_LAYERS`, already composited into ``uv_albedo``.
    * ``log_chromophores``: maps of (log melanin, log haemoglobin) under the layers.
    * ``albedo_coeffs``: of the prior; their tone is the core skin's tone of ``uv_albedo``.
    * ``eumelanin_share``, ``oxygenation``: a face; the prior's own decoding uses their middle.
    """

    uv_albedo: Float[Tensor, "batch 3 height width"]
    layer_alpha: Float[Tensor, "batch layer height width"]
    log_chromophores: Float[Tensor, "batch 2 height width"]
    albedo_coeffs: Float[Tensor, "batch albedo"]
    eumelanin_share: Float[Tensor, "batch"]
    oxygenation: Float[Tensor, "batch"]


@dataclass(frozen=True)
class _Canvas:
    """What every part needs: the prior at one resolution, and where random numbers come from."""

    prior: AlbedoPrior
    positions: Float[Tensor, "3 height width"]
    resolution: int
    generator: torch.Generator
    batch: int

    def field(self, name: str) -> Float[Tensor, "height width"]:
        return self.prior.field(name, self.resolution)

    def noise(self, grain_m: float, channels: int = 1, stretch: tuple[float, float, float] = (1, 1, 1)) -> Tensor:
        """Noise over the atlas; ``stretch`` > 1 draws it out along an axis. Large blotches are drawn coarsely."""
        coarse = grain_m >= COARSE_TEXELS * self.prior.texel_m and self.resolution > self.prior.resolution
        positions = self.prior.positions() if coarse else self.positions
        noise = self.noise_at(positions / positions.new_tensor(stretch)[:, None, None], grain_m, channels)
        if not coarse:
            return noise
        size = (self.resolution, self.resolution)
        return torch.nn.functional.interpolate(noise, size, mode="bilinear", align_corners=False)

    def noise_at(self, points_m: Float[Tensor, "3 height width"], grain_m: float, channels: int = 1) -> Tensor:
        """Solid noise at the points of a map, faded out where neighbouring points lie too far apart to show it."""
        spacing = torch.maximum(_step(points_m, 1), _step(points_m, 2))
        visible = smoothstep(1.5, 0.8, spacing / grain_m)
        return visible * solid_noise(points_m, grain_m, self.generator, self.batch, channels)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "batch"]:
        drawn = torch.rand(self.batch, generator=self.generator)
        return (low + (high - low) * drawn).to(self.positions)

    def chance(self, share: float) -> Float[Tensor, "batch"]:
        """1 with a probability of ``share``, else 0."""
        return (torch.rand(self.batch, generator=self.generator) < share).to(self.positions)


def _step(points_m: Float[Tensor, "3 height width"], axis: int) -> Float[Tensor, "height width"]:
    """Distance from each point of a map to the next one along an axis; the last one's is repeated."""
    distance = _length(points_m.diff(dim=axis))
    return torch.cat([distance, distance.narrow(axis - 1, -1, 1)], dim=axis - 1)


def _length(vectors: Float[Tensor, "3 height width"]) -> Float[Tensor, "height width"]:
    """Length of each vector of a map; `torch.linalg.vector_norm` is twenty times slower along the first axis."""
    x, y, z = vectors
    return (x * x + y * y + z * z).sqrt()


def sample_detailed_albedo(
    prior: AlbedoPrior,
    albedo_coeffs: Float[Tensor, "batch albedo"],
    generator: torch.Generator,
    resolution: int = 512,
    config: DetailConfig | None = None,
) -> DetailedAlbedo:
    """Draw one detailed face for each row of coefficients (see `AlbedoPrior.sample`).

    Args:
        prior: on the device that shall do the work.
        albedo_coeffs: on the same device.
        generator: on the CPU.
        resolution: texels a side, even. The finest blotches and single hairs need 1024.
        config: how often what happens.

    Raises:
        ValueError: wrong number of coefficients, or an odd resolution.
    """
    config = config or DetailConfig()
    canvas = _Canvas(prior, prior.positions(resolution), resolution, generator, len(albedo_coeffs))
    coarse = prior.log_chromophores(albedo_coeffs, resolution)
    share, oxygen = canvas.uniform(*EUMELANIN_SHARE_BOUNDS), canvas.uniform(*OXYGENATION_BOUNDS)
    blotches = config.strength * _blotches(canvas, albedo_coeffs)
    maps = coarse + _without_tone(canvas, blotches) + _freckles(canvas, albedo_coeffs, config.freckled)
    maps = maps + _moles_and_blemishes(canvas, maps, config)
    if config.patch_rate > 0:
        maps = maps + _without_tone(canvas, _patches(canvas, albedo_coeffs, config.patch_rate))
    albedo = skin_colour(maps[:, 0], maps[:, 1], share, oxygen)
    alphas = _layers(canvas, albedo_coeffs, config)
    colours = _layer_colours(canvas, albedo_coeffs, config)
    for number in range(len(DETAIL_LAYERS)):
        albedo = torch.lerp(albedo, colours[number], alphas[:, number : number + 1])
    gain = (LOG_GAIN_UNIT * albedo_coeffs[:, -1]).exp()[:, None, None, None]
    return DetailedAlbedo(albedo * gain, alphas, maps, albedo_coeffs, share, oxygen)


def _without_tone(canvas: _Canvas, change: Float[Tensor, "batch 2 height width"]) -> Tensor:
    core = canvas.field("core_skin")
    return change - ((change * core).sum((-2, -1)) / core.sum())[..., None, None]


def _blotches(canvas: _Canvas, coeffs: Tensor) -> Float[Tensor, "batch 2 height width"]:
    """Octaves of solid noise in both chromophores, livelier on some faces; vertical furrows on the lips."""
    total = torch.zeros(canvas.batch, 2, canvas.resolution, canvas.resolution).to(canvas.positions)
    for grain, melanin, haemoglobin in OCTAVES:
        spread = total.new_tensor([melanin, haemoglobin])[:, None, None]
        total = total + spread * canvas.noise(grain, 2)
    liveliness = canvas.uniform(0.6, 1.4)
    # On dark skin the same relative change of melanin shows far more.
    calm = (0.85 - 0.25 * coeffs[:, 0]).clamp(0.45, 1.2)
    total = total * torch.stack([liveliness * calm, liveliness], dim=-1)[:, :, None, None]
    furrows = canvas.noise(0.0015, stretch=(1.0, 6.0, 6.0)) * canvas.field("lips")
    return total + total.new_tensor([0.06, 0.10])[:, None, None] * furrows


def _freckles(canvas: _Canvas, coeffs: Tensor, share: float) -> Float[Tensor, "batch 2 height width"]:
    """Small brown spots of two sizes, mostly on nose and cheeks; strongest on light skin."""
    present = canvas.chance(share) * canvas.uniform(0.35, 1.0)
    large, small = canvas.noise(0.0045), canvas.noise(0.0026)
    density = present[:, None, None, None] * canvas.field("freckle_zone")
    spots = torch.maximum(_spots(large, 2.8 - 1.5 * density), 0.8 * _spots(small, 2.5 - 1.7 * density))
    strength = (0.75 - 0.35 * coeffs[:, 0]).clamp(0.15, 1.3)[:, None, None, None]
    melanin = strength * spots * smoothstep(0.0, 0.05, density)
    return torch.cat([melanin, torch.zeros_like(melanin)], dim=1)


def _spots(noise: Tensor, threshold: Tensor) -> Tensor:
    return smoothstep(0.0, 0.8, noise - threshold)


def _moles_and_blemishes(
    canvas: _Canvas, maps: Float[Tensor, "batch 2 height width"], config: DetailConfig
) -> Float[Tensor, "batch 2 height width"]:
    """Round spots: moles, dark brown, and blemishes, red and soft. Drawn one by one, there are few."""
    rates = torch.tensor([config.mole_rate, config.blemish_rate]).expand(canvas.batch, 2)
    counts = torch.poisson(rates, generator=canvas.generator).int().tolist()
    added = torch.zeros_like(maps)
    for face, (moles, blemishes) in enumerate(counts):
        for is_mole in (*[True] * moles, *[False] * blemishes):
            centre = _random_skin_point(canvas)
            size, depth = torch.rand(2, generator=canvas.generator).tolist()
            distance = _length(canvas.positions - centre[:, None, None])
            if is_mole:
                radius = 0.0008 + 0.0014 * size * size
                spot = smoothstep(1.4 * radius, 0.6 * radius, distance)
                # Up to a melanin of about .5, whatever the skin around.
                added[face, 0] += spot * (0.5 + 0.5 * depth) * (math.log(0.5) - maps[face, 0]).clamp(0.3, 3.0)
            else:
                spot = torch.exp(-0.5 * (distance / (0.0010 + 0.0016 * size)) ** 2)
                added[face] += spot * added.new_tensor([0.06, 0.25 + 0.4 * depth])[:, None, None]
    return added


def _patches(canvas: _Canvas, coeffs: Tensor, rate: float) -> Float[Tensor, "batch 2 height width"]:
    """Stains with wandering borders: of any size and edge, round or drawn out; browner, paler or redder than the skin.

    The kinds are not told apart (birthmarks, melasma, vitiligo, blush, scars): what they have in common is that they
    are changes of pigment, however the face is lit.
    """
    counts = torch.poisson(torch.full((canvas.batch,), rate), generator=canvas.generator).int().tolist()
    wandering = canvas.noise(0.006, 2)
    added = torch.zeros(canvas.batch, 2, canvas.resolution, canvas.resolution).to(canvas.positions)
    for face, count in enumerate(counts):
        for _ in range(count):
            away = canvas.positions - _random_skin_point(canvas)[:, None, None]
            size, length, edge, depth, kind = torch.rand(5, generator=canvas.generator).tolist()
            axis = torch.nn.functional.normalize(torch.randn(3, generator=canvas.generator), dim=0).to(away)
            stretch = 1 + 5 * length**3
            along = (away * axis[:, None, None]).sum(0)
            radius = 0.0018 * 13.0**size / stretch**0.5
            distance = (_length(away).square() - (1 - 1 / stretch**2) * along.square()).clamp(min=0).sqrt()
            ragged = distance / radius + 0.25 * wandering[face, int(2 * edge)]
            shape = smoothstep(1 + 0.08 + 0.9 * edge, 1 - 0.08 - 0.6 * edge, ragged)
            added[face] += shape * added.new_tensor(_patch_colour(kind, depth, float(coeffs[face, 0])))[:, None, None]
    return added


def _patch_colour(kind: float, depth: float, darkness: float) -> tuple[float, float]:
    """Change of log melanin and log haemoglobin: half of all are brown, the others pale, red or both red and brown."""
    # On dark skin the same relative change of melanin shows far more.
    melanin = (0.25 + 0.75 * depth) * min(max(0.85 - 0.25 * darkness, 0.45), 1.2)
    if kind < 0.5:
        return melanin, 0.2 * depth
    if kind < 0.65:
        return -(1.0 + depth) * melanin, -0.2 * depth
    if kind < 0.9:
        return 0.0, 0.3 + 0.8 * depth
    return 0.5 * melanin, 0.2 + 0.5 * depth


def _random_skin_point(canvas: _Canvas) -> Float[Tensor, "3"]:
    """A point of the face's or neck's skin, found at the prior's own resolution so that it does not move with ours."""
    prior = canvas.prior
    weight = prior.fields[prior.field_names.index("core_skin")] + 0.15 * prior.fields[prior.field_names.index("neck")]
    weight = (weight * prior.mask).flatten().cpu()
    place = int(torch.multinomial(weight, 1, generator=canvas.generator))
    side = 1.0 if torch.rand((), generator=canvas.generator) < 0.5 else -1.0
    return prior.positions_m.flatten(1)[:, place] * prior.positions_m.new_tensor([side, 1.0, 1.0])


def _layers(canvas: _Canvas, coeffs: Tensor, config: DetailConfig) -> Float[Tensor, "batch layer height width"]:
    """Opacity of brows, beard, scalp hair and lipstick, with strands and ragged borders."""
    maps = unfold_mirror(resize_half(canvas.prior.layer_maps[None], canvas.resolution)).to(coeffs)
    brows, beard, scalp = (maps[:, number : number + 1] for number in range(3))
    strength = canvas.prior.layer_strength(coeffs)[:, :, None, None]
    ragged = canvas.noise(0.012)
    made_up = canvas.chance(config.made_up) * (strength[:, 1, 0, 0] < 0.1) * canvas.uniform(0.35, 0.9)
    lipstick = made_up[:, None, None, None] * smoothstep(0.25, 0.75, canvas.field("lips"))
    return torch.cat(
        [
            _brow_hair(canvas, brows, strength[:, 0:1]),
            _beard_hair(canvas, _ragged(beard, ragged, 0.8), strength[:, 1:2]),
            _scalp_hair(canvas, _ragged(scalp, ragged, 0.6), strength[:, 2:3]),
            lipstick,
        ],
        dim=1,
    ).clamp(0, 1)


def _ragged(layer: Tensor, noise: Tensor, amount: float) -> Tensor:
    """Make the border of a layer wander: noise counts where the layer is half transparent."""
    return (layer + amount * noise * layer * (1 - layer)).clamp(0, 1)


def _brow_hair(canvas: _Canvas, layer: Tensor, strength: Tensor) -> Tensor:
    """Hairs that rise near the nose and lie down towards the temple."""
    along, across, angle = brow_coordinates(canvas.positions)
    side = 0.1 * torch.sign(canvas.positions[0])  # its own strands on either side
    cosine, sine = torch.cos(angle), torch.sin(angle)
    strand = torch.stack([(along * cosine + across * sine) / 7.0, across * cosine - along * sine, side])
    hairs = canvas.noise_at(strand, 0.0010)
    return strength * layer * (0.5 + 0.5 * smoothstep(-1.1, 0.6, hairs + 1.4 * (layer - 0.5)))


def _beard_hair(canvas: _Canvas, layer: Tensor, strength: Tensor) -> Tensor:
    """Dots where it is short (low opacity), strands where it is long."""
    dots = smoothstep(-0.8, 1.0, canvas.noise(0.0012))
    strands = smoothstep(-1.4, 0.8, canvas.noise(0.0009, stretch=(1.0, 7.0, 1.5)) + layer - 0.6)
    texture = torch.lerp(dots, strands, smoothstep(0.3, 0.7, strength))
    return strength * layer * (0.5 + 0.5 * texture)


def _scalp_hair(canvas: _Canvas, layer: Tensor, strength: Tensor) -> Tensor:
    """Short hair: strands that show most where it is thin."""
    fine, clumps = (canvas.noise(grain, stretch=(1.0, 5.0, 1.5)) for grain in (0.0018, 0.006))
    thin = 1 - smoothstep(-1.5, 1.5, fine + 0.7 * clumps)
    return strength * layer * (1 - (0.36 - 0.28 * layer * strength) * thin)


def _layer_colours(canvas: _Canvas, coeffs: Tensor, config: DetailConfig) -> list[Tensor]:
    """Linear albedo of each layer, [batch, 3, 1, 1]."""
    hair = canvas.prior.hair_colour(coeffs)
    grey = (canvas.chance(config.grey_haired) * canvas.uniform(0.1, 0.9))[:, None]
    scalp, beard = (torch.lerp(hair, hair.new_tensor(GREY_HAIR), share * grey) for share in (1.0, 0.8))
    # Brows keep their colour longest, and are a little darker than other light hair.
    brows = torch.lerp(hair, hair.new_tensor(GREY_HAIR), 0.2 * grey) * (1 - 0.8 * luminance(hair))[:, None]
    place = canvas.uniform(0.0, len(LIPSTICKS) - 1.001)
    index, rest = place.long(), (place - place.floor())[:, None]
    tints = hair.new_tensor(LIPSTICKS).log()
    lipstick = torch.lerp(tints[index], tints[index + 1], rest).exp()
    return [colour[:, :, None, None] for colour in (brows, beard, scalp, lipstick)]
