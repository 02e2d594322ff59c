"""The balanced albedo prior: a small linear model of skin in log-chromophore space, and how often each tone occurs.

A face's skin is two maps over the atlas, log melanin and log haemoglobin, each a linear function of
`SKIN_COMPONENTS` coefficients; `skin.skin_colour` turns them into linear RGB. So every draw, however far out, has the
colour of some skin. Coefficient 0 is the level of melanin and 1 that of blood in the *core skin* (cheeks, forehead,
nose, chin); the others move places against each other and leave the level alone. Then follow the opacities of brows,
beard and scalp hair, the tone of the hair, and a log gain, which only textures taken from photos need.

Everything is left-right symmetric, exactly: only the left half of each map is stored and computed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Bool, Float, Int, Shaped
from safetensors import SafetensorError
from torch import Tensor

from facealbedo.core.colour import ITA_GROUPS, ita_degrees, ita_group, linear_rgb_to_lab
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.face_model.skin import skin_colour
from facealbedo.core.types import TensorRecord

FORMAT = "facealbedo-albedo-prior-1"

SKIN_COMPONENTS = 10
# Hair painted over the skin, in this order: logit of the opacity at coefficient 0, and its change for a unit.
LAYERS = {"brows": (1.0, 0.9), "beard": (-2.2, 1.8), "scalp": (0.8, 1.5)}
COEFFICIENT_NAMES = (
    "log_melanin",
    "log_haemoglobin",
    *(f"skin_{number}" for number in range(2, SKIN_COMPONENTS)),
    *LAYERS,
    "hair_tone",
    "log_gain",
)
N_COEFFICIENTS = len(COEFFICIENT_NAMES)

# Hair's linear albedo runs geometrically from black to light blond; logit of the place between, at 0 and a unit.
BLACK_HAIR, BLOND_HAIR = (0.0105, 0.0080, 0.0065), (0.34, 0.215, 0.115)
HAIR_TONE = (-1.5, 1.2)
# One unit of the log gain: .3 photographic stops, so that two units span the nuisance's +-.6.
LOG_GAIN_UNIT = 0.3 * math.log(2.0)

# Levels of the population before it is evened out over the groups: melanin uniform in log, blood log-normal.
MELANIN_RANGE = (0.003, 0.62)
HAEMOGLOBIN_MEDIAN, HAEMOGLOBIN_LOG_STD = 0.033, 0.25

_MAPS = ("log_mean", "log_basis", "layer_maps", "fields")
_POSITION_STEP_M = 1e-5  # positions are stored as 16-bit integers of a hundredth of a millimetre


class AlbedoPriorError(FaceAlbedoError):
    """The bytes are not an albedo prior that this version can read."""


@dataclass(frozen=True, eq=False)
class AlbedoPrior(TensorRecord):
    """The prior. All maps are left halves (u < .5) of atlas maps and reach beyond the atlas's border, without a step.

    * ``log_mean``: mean of (log melanin, log haemoglobin), natural logs of fractions, level included.
    * ``log_basis``: change of the two maps for a unit of each skin coefficient.
    * ``layer_maps``: where each of `LAYERS` grows, in [0, 1].
    * ``fields``: other soft places in [0, 1], by ``field_names`` (see `skin_maps`); ``core_skin`` is one.
    * ``positions_m``: the mean face's surface, world frame, metres.
    * ``mask``: texels inside the atlas.
    * ``level_mean``, ``level_std``: of the population's core-skin (log melanin, log haemoglobin).
    * ``texel_m``: width of a texel at the core skin, metres.
    * ``provenance``: what it was built from, for the record.
    """

    log_mean: Float[Tensor, "2 height half"]
    log_basis: Float[Tensor, "skin 2 height half"]
    layer_maps: Float[Tensor, "layer height half"]
    fields: Float[Tensor, "field height half"]
    positions_m: Float[Tensor, "3 height half"]
    mask: Bool[Tensor, "height half"]
    level_mean: Float[Tensor, "2"]
    level_std: Float[Tensor, "2"]
    field_names: tuple[str, ...]
    texel_m: float
    provenance: dict[str, str]

    @property
    def resolution(self) -> int:
        """Texels a side of the stored maps (the whole atlas)."""
        return self.log_mean.shape[-2]

    @property
    def n_coefficients(self) -> int:
        """Length of ``albedo_coeffs``."""
        return N_COEFFICIENTS

    def decode(
        self, albedo_coeffs: Float[Tensor, "batch albedo"], resolution: int | None = None
    ) -> Float[Tensor, "batch 3 height width"]:
        """Linear diffuse albedo over the atlas; differentiable; computed in the dtype of the coefficients.

        Args:
            albedo_coeffs: as `COEFFICIENT_NAMES`, on the prior's device.
            resolution: texels a side, even; None: as stored. Log maps are resampled before they become colours.

        Raises:
            ValueError: wrong number of coefficients, or an odd resolution.
        """
        melanin, haemoglobin = self._half_chromophores(albedo_coeffs, resolution).unbind(1)
        albedo = skin_colour(melanin, haemoglobin)
        hair = self.hair_colour(albedo_coeffs)[:, :, None, None]
        alphas = self._half_layers(albedo_coeffs, resolution)
        for number in range(alphas.shape[1]):
            albedo = torch.lerp(albedo, hair, alphas[:, number : number + 1])
        gain = (LOG_GAIN_UNIT * albedo_coeffs[:, -1]).exp()
        return unfold_mirror(albedo * gain[:, None, None, None])

    def log_chromophores(
        self, albedo_coeffs: Float[Tensor, "batch albedo"], resolution: int | None = None
    ) -> Float[Tensor, "batch 2 height width"]:
        """Maps of (log melanin, log haemoglobin) over the atlas, without the layers."""
        return unfold_mirror(self._half_chromophores(albedo_coeffs, resolution))

    def layer_opacity(
        self, albedo_coeffs: Float[Tensor, "batch albedo"], resolution: int | None = None
    ) -> Float[Tensor, "batch layer height width"]:
        """Opacity of each of `LAYERS` over the atlas, in [0, 1]."""
        return unfold_mirror(self._half_layers(albedo_coeffs, resolution))

    def field(self, name: str, resolution: int | None = None) -> Float[Tensor, "height width"]:
        """A soft place in [0, 1] over the atlas; ``core_skin`` is the skin that tone refers to.

        Raises:
            ValueError: there is no such field.
        """
        if name not in self.field_names:
            raise ValueError(f"unknown field {name!r}; the prior has {self.field_names}")
        half = self.fields[self.field_names.index(name)]
        return unfold_mirror(resize_half(half[None, None], self._side(resolution)))[0, 0]

    def positions(self, resolution: int | None = None) -> Float[Tensor, "3 height width"]:
        """The mean face's surface at every texel, world frame, metres."""
        mirrored = _mirror_points(self.positions_m)
        # Resampled as a whole: unlike the other maps, x changes its sign at the mid-line.
        whole = _resize(torch.cat([self.positions_m, mirrored], dim=-1)[None], self._side(resolution))[0]
        return 0.5 * (whole + _mirror_points(whole))

    def layer_strength(self, albedo_coeffs: Float[Tensor, "batch albedo"]) -> Float[Tensor, "batch layer"]:
        """How dense each of `LAYERS` is where it grows fully, in [0, 1]."""
        centre, scale = albedo_coeffs.new_tensor(list(LAYERS.values())).unbind(-1)
        return torch.sigmoid(centre + scale * albedo_coeffs[:, SKIN_COMPONENTS : SKIN_COMPONENTS + len(LAYERS)])

    def hair_colour(self, albedo_coeffs: Float[Tensor, "batch albedo"]) -> Float[Tensor, "batch 3"]:
        """Linear albedo of the hair of each face."""
        centre, scale = HAIR_TONE
        place = torch.sigmoid(centre + scale * albedo_coeffs[:, -2:-1])
        black, blond = (albedo_coeffs.new_tensor(colour).log() for colour in (BLACK_HAIR, BLOND_HAIR))
        return (black + place * (blond - black)).exp()

    def coeffs_from_tone(
        self, log_melanin: Float[Tensor, "batch"], log_haemoglobin: Float[Tensor, "batch"]
    ) -> Float[Tensor, "batch albedo"]:
        """Coefficients of the average face of a tone: everything but the two levels at 0."""
        levels = (torch.stack([log_melanin, log_haemoglobin], dim=-1) - self.level_mean) / self.level_std
        return torch.cat([levels, levels.new_zeros(len(levels), N_COEFFICIENTS - 2)], dim=-1)

    def tone_of(
        self, albedo_coeffs: Float[Tensor, "batch albedo"]
    ) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]:
        """(log melanin, log haemoglobin) of the core skin; the inverse of `coeffs_from_tone`."""
        levels = self.level_mean + self.level_std * albedo_coeffs[:, :2]
        return levels[:, 0], levels[:, 1]

    def tone_to_rgb(
        self, log_melanin: Float[Tensor, "*shape"], log_haemoglobin: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape 3"]:
        """Linear albedo of core skin of a tone (what the median over ``core_skin`` comes to); differentiable."""
        flat = skin_colour(log_melanin.reshape(1, 1, -1), log_haemoglobin.reshape(1, 1, -1))
        return flat[0, :, 0].T.reshape(*log_melanin.shape, 3)

    def base_tone(self, albedo_coeffs: Float[Tensor, "batch albedo"]) -> Float[Tensor, "batch 3"]:
        """Linear albedo of the core skin of each face, gain included."""
        return self.tone_to_rgb(*self.tone_of(albedo_coeffs)) * (LOG_GAIN_UNIT * albedo_coeffs[:, -1:]).exp()

    def sample(
        self, n: int, generator: torch.Generator, groups: Int[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n albedo"]:
        """Draw faces with equal mass in the six ITA groups, in random order; the log gain stays 0.

        Tones are uniform in log melanin within each group, counts a group differ by one at most (a single draw has a
        random group). The other skin coefficients are normal.

        Args:
            n: how many.
            generator: on the CPU; the same state gives the same faces on every device.
            groups: index into `colour.ITA_GROUPS` of each face, to ask for particular ones.

        Raises:
            ValueError: ``groups`` has the wrong length or an index that does not exist.
        """
        if groups is None:
            groups = balanced_groups(n, generator)
        elif groups.shape != (n,) or (n and not 0 <= int(groups.min()) <= int(groups.max()) < len(ITA_GROUPS)):
            raise ValueError(f"expected {n} group indices from 0 to {len(ITA_GROUPS) - 1}, got {groups}")
        tones = sample_tones(groups.cpu(), generator)
        levels = (tones - self.level_mean.cpu()) / self.level_std.cpu()
        spatial = torch.randn(n, SKIN_COMPONENTS - 2, generator=generator)
        layers = _sample_layers(levels[:, 0], generator)
        coeffs = torch.cat([levels, spatial, layers, torch.zeros(n, 1)], dim=-1)
        return coeffs.to(self.log_mean)

    def at_resolution(self, resolution: int) -> AlbedoPrior:
        """Return the same prior with its maps resampled once, for many quick decodes at that size."""

        def resample(maps: Tensor) -> Tensor:
            flat = maps.reshape(1, -1, *maps.shape[-2:]).to(self.log_mean.dtype)
            return resize_half(flat, resolution).reshape(*maps.shape[:-2], resolution, resolution // 2)

        return replace(
            self,
            log_mean=resample(self.log_mean),
            log_basis=resample(self.log_basis),
            layer_maps=resample(self.layer_maps),
            fields=resample(self.fields),
            positions_m=self.positions(resolution)[..., : resolution // 2],
            mask=resample(self.mask) > 0.5,
            texel_m=self.texel_m * self.resolution / resolution,
        )

    def to_bytes(self) -> bytes:
        """Return the prior as a safetensors file (16 bit) with JSON metadata."""
        tensors = {name: getattr(self, name).to("cpu", torch.float16).contiguous() for name in _MAPS}
        tensors["positions"] = (self.positions_m.cpu() / _POSITION_STEP_M).round().to(torch.int16)
        tensors["mask"] = self.mask.to("cpu", torch.uint8)
        tensors["level"] = torch.stack([self.level_mean, self.level_std]).to("cpu", torch.float64)
        metadata = {
            "coefficient_names": COEFFICIENT_NAMES,
            "field_names": self.field_names,
            "texel_m": self.texel_m,
            "provenance": self.provenance,
        }
        # One entry only: safetensors writes several in an unstable order, and equal priors must give equal bytes.
        return safetensors.torch.save(tensors, {FORMAT: json.dumps(metadata, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> AlbedoPrior:
        """Read what `to_bytes` wrote (CPU, float32).

        Raises:
            AlbedoPriorError: the bytes are damaged, of another format, or inconsistent.
        """
        tensors, metadata = _read(data)
        try:
            maps = {name: tensors[name].float() for name in _MAPS}
            prior = cls(
                **maps,
                positions_m=tensors["positions"].float() * _POSITION_STEP_M,
                mask=tensors["mask"].bool(),
                level_mean=tensors["level"][0].float(),
                level_std=tensors["level"][1].float(),
                field_names=tuple(metadata["field_names"]),
                texel_m=float(metadata["texel_m"]),
                provenance=metadata["provenance"],
            )
        except KeyError as error:
            raise AlbedoPriorError(f"the albedo prior lacks {error.args[0]!r}") from error
        prior.validate(tuple(metadata["coefficient_names"]))
        return prior

    def validate(self, names: tuple[str, ...] = COEFFICIENT_NAMES) -> None:
        """Check names and shapes against this version.

        Raises:
            AlbedoPriorError: naming what is wrong.
        """
        if names != COEFFICIENT_NAMES:
            raise AlbedoPriorError(f"the albedo prior has the coefficients {names}; expected {COEFFICIENT_NAMES}")
        height, half = self.mask.shape
        expected = {
            "log_mean": (2, height, half),
            "log_basis": (SKIN_COMPONENTS, 2, height, half),
            "layer_maps": (len(LAYERS), height, half),
            "fields": (len(self.field_names), height, half),
            "positions_m": (3, height, half),
            "level_mean": (2,),
            "level_std": (2,),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape or height != 2 * half:
                raise AlbedoPriorError(
                    f"{name} has shape {tuple(value.shape)}; expected {shape}, twice as high as wide"
                )
            if not value.isfinite().all():
                raise AlbedoPriorError(f"{name} has values that are not finite")

    def _side(self, resolution: int | None) -> int:
        return self.resolution if resolution is None else resolution

    def _half_chromophores(self, coeffs: Tensor, resolution: int | None) -> Tensor:
        """[batch, 2, height, width / 2]."""
        if coeffs.ndim != 2 or coeffs.shape[1] != N_COEFFICIENTS:
            raise ValueError(f"expected [batch, {N_COEFFICIENTS}] albedo coefficients, got {tuple(coeffs.shape)}")
        basis, mean = self.log_basis.to(coeffs.dtype), self.log_mean.to(coeffs.dtype)
        maps = torch.addmm(mean.reshape(1, -1), coeffs[:, :SKIN_COMPONENTS], basis.flatten(1))
        return resize_half(maps.unflatten(1, mean.shape), self._side(resolution))

    def _half_layers(self, coeffs: Tensor, resolution: int | None) -> Tensor:
        """[batch, layer, height, width / 2]."""
        maps = resize_half(self.layer_maps[None].to(coeffs.dtype), self._side(resolution))
        return self.layer_strength(coeffs)[:, :, None, None] * maps

    @cached_property
    def core_weight(self) -> Float[Tensor, "height half"]:
        """The ``core_skin`` field, summing to 1 over the half map."""
        core = self.fields[self.field_names.index("core_skin")]
        return core / core.sum()


def unfold_mirror(half: Shaped[Tensor, "*shape height half"]) -> Shaped[Tensor, "*shape height width"]:
    """The whole map of a left half: its mirror image beside it."""
    return torch.cat([half, half.flip(-1)], dim=-1)


def resize_half(
    half: Float[Tensor, "batch channel height half"], resolution: int
) -> Float[Tensor, "batch channel resolution half_resolution"]:
    """Resample left halves for atlas maps of ``resolution``: bilinear, prefiltered when it becomes smaller.

    At the mid-line the half is extended by its last column, which is what its mirror image would add.

    Raises:
        ValueError: the resolution is odd or below 2.
    """
    if resolution < 2 or resolution % 2:
        raise ValueError(f"the resolution of an atlas map must be even, so that it can be mirrored; got {resolution}")
    if resolution == half.shape[-2]:
        return half
    size = (resolution, resolution // 2)
    return _interpolate(half, size)


def _resize(whole: Tensor, resolution: int) -> Tensor:
    """Resample whole atlas maps [batch, channel, height, width]."""
    return whole if resolution == whole.shape[-2] else _interpolate(whole, (resolution, resolution))


def _interpolate(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(
        maps, size, mode="bilinear", align_corners=False, antialias=size[0] < maps.shape[-2]
    )


def _mirror_points(points: Tensor) -> Tensor:
    """Mirror image of a map of points [3, height, width]: flipped, x negated."""
    return points.flip(-1) * points.new_tensor([-1.0, 1.0, 1.0])[:, None, None]


def balanced_groups(n: int, generator: torch.Generator) -> Int[Tensor, "n"]:
    """Group indices with equal counts (off by one at most, at random), in random order."""
    labels = torch.randperm(len(ITA_GROUPS), generator=generator)
    return labels[torch.arange(n) % len(ITA_GROUPS)][torch.randperm(n, generator=generator)]


def sample_tones(groups: Int[Tensor, "n"], generator: torch.Generator) -> Float[Tensor, "n 2"]:
    """Draw (log melanin, log haemoglobin) of core skin in given ITA groups.

    Candidates are uniform in log melanin over `MELANIN_RANGE` with log-normal haemoglobin; each face takes the next
    candidate of its group, so that within a group the population's own distribution is kept.
    """
    low, high = (math.log(bound) for bound in MELANIN_RANGE)
    tones = torch.empty(len(groups), 2)
    wanted = {group: (groups == group).nonzero()[:, 0] for group in range(len(ITA_GROUPS))}
    while any(len(places) for places in wanted.values()):
        count = 64 + 12 * max(len(places) for places in wanted.values())
        melanin = low + (high - low) * torch.rand(count, generator=generator)
        haemoglobin = math.log(HAEMOGLOBIN_MEDIAN) + HAEMOGLOBIN_LOG_STD * torch.randn(count, generator=generator)
        rgb = skin_colour(melanin.double()[None, None], haemoglobin.double()[None, None])[0, :, 0].T
        found = ita_group(ita_degrees(linear_rgb_to_lab(rgb)))
        for group, places in wanted.items():
            candidates = (found == group).nonzero()[: len(places), 0]
            filled = places[: len(candidates)]
            tones[filled] = torch.stack([melanin[candidates], haemoglobin[candidates]], dim=-1)
            wanted[group] = places[len(candidates) :]
    return tones


def _sample_layers(melanin_level: Float[Tensor, "n"], generator: torch.Generator) -> Float[Tensor, "n layer_and_tone"]:
    """Draw brows, beard, scalp hair and hair tone; half of the faces grow no beard, dark skin has dark hair."""
    n = len(melanin_level)
    brows, beard, scalp, tone = torch.randn(4, n, generator=generator)
    bearded = torch.rand(n, generator=generator) < 0.5
    beard = torch.where(bearded, 0.9 + 0.8 * beard, -1.0 + 0.25 * beard)
    return torch.stack([brows, beard, scalp, 0.7 * tone - 0.6 * melanin_level], dim=-1)


def _read(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split a safetensors file into its tensors and the prior's metadata."""
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][FORMAT])
        missing = {"coefficient_names", "field_names", "texel_m", "provenance"} - set(metadata)
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise AlbedoPriorError(f"not an albedo prior of the format {FORMAT!r}: {error}") from error
    if not isinstance(metadata, dict) or missing:
        raise AlbedoPriorError(f"the albedo prior's metadata lacks {sorted(missing)}")
    return tensors, metadata
