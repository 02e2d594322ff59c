"""Fabricated faces inside the training step: rendered on the device from a pool of albedo maps, in about a millisecond.

Drawing a detailed albedo (`face_model.skin_detail`) is the slow part and happens on the host in places, so a pool of
them is made once; pose, shape, camera, light, exposure, white balance, relief, gloss, lens and sensor are new for every
face and step. What a network gets is not the truth but a fit that errs as real fits do: coefficients and pose are off,
the prior's tone is guessed, and the light is fitted to the picture under that guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.skin_detail import DetailConfig, sample_detailed_albedo
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.lighting.sh import rotate_sh
from facealbedo.core.losses.total import Truth
from facealbedo.core.render.gbuffer import render_gbuffer, unit
from facealbedo.core.train.batch import CropBatch
from facealbedo.core.train.blur import blur_each
from facealbedo.core.train.illuminate import LitFace, illuminator
from facealbedo.core.train.lamp import lamp_visibility
from facealbedo.core.train.scene import Scene, Stage, make_scene, read_atlas
from facealbedo.core.types import Camera, FaceCoefficients, GBuffer, Pose, TensorRecord

# (texture, albedo, normals, weights, openness) in the atlas -> order-2 SH radiance [batch, 3, 9].
LightFitter = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
# Outside the face the truth counts for less: no photo shows most of it.
ELSEWHERE = 0.2
LIGHT_FIT_STRIDE = 4
# More of everything than people have: what is rare must be learned too.
DETAIL = DetailConfig(
    freckled=0.35, mole_rate=3.0, blemish_rate=4.0, made_up=0.3, grey_haired=0.2, strength=1.3, patch_rate=4.0
)


@dataclass(frozen=True)
class FabricateConfig:
    """How faces differ, and how far fits err. Angles in degrees, lengths in metres, "log" natural.

    Attributes:
        yaw, pitch, roll: standard deviations of the pose.
        distance, distance_log_sigma: of the camera.
        face_share: height of the crop over that of the face, from and to.
        exposure: the face's mean linear value, from and to (a camera's automatic exposure, and its errors).
        white_balance: how much of the light's colour cast stays, at most.
        lamp_share: how often a lamp is added to the surroundings. lamp_strength: the shading that it makes, at most,
            where the surroundings make about 1. lamp_softness: blur of its shadows, from and to.
        gloss: strength of the specular layer, at most.
        relief: strength of pores and bumps in the normals, at most. creases: depth of wrinkles, at most.
        cavity: how much darker the bottom of a wrinkle is, at most. openness_log: spread of the exponent of the
            face's own occlusion, which the embedded one only approximates.
        warp: how far features lie from where the prior has them, atlas widths, standard deviation at most.
        unnoticed: how often the fit misses all layers (brows, beard, hairline) and spatial tones.
        imagined: how often it finds those of another face instead (a shadow taken for a beard).
        blur_px, noise: of lens and sensor, at most.
        identity_error, pose_error_degrees, shift_error_px: standard deviations of what the fit gets wrong.
        expression_error: the same, of the expression's coefficients. spatial_error: of those of the albedo's layers.
        tone_error: standard deviation of the guessed level of melanin and blood, in units of the coefficients.
        found: least part of the layers that the fit finds where it finds them; 1: all of them.
    """

    yaw: float = 17.0
    pitch: float = 9.0
    roll: float = 5.0
    distance: float = 0.65
    distance_log_sigma: float = 0.25
    face_share: tuple[float, float] = (1.02, 1.3)
    exposure: tuple[float, float] = (0.09, 0.42)
    white_balance: float = 0.35
    lamp_share: float = 0.6
    lamp_strength: float = 4.0
    lamp_softness: tuple[float, float] = (0.001, 0.02)
    gloss: float = 1.0
    relief: float = 0.2
    creases: float = 1.2
    cavity: float = 0.5
    openness_log: float = 0.3
    warp: float = 0.016
    unnoticed: float = 0.3
    imagined: float = 0.15
    blur_px: float = 1.1
    noise: float = 0.02
    identity_error: float = 0.1
    pose_error_degrees: float = 0.7
    shift_error_px: float = 0.8
    expression_error: float = 0.04
    spatial_error: float = 0.2
    tone_error: float = 0.3
    found: float = 0.0


# The same faces with fits that do not err, but for the light, which is fitted as ever, and `log_gain`, which no fit
# finds.
EXACT_FITS = FabricateConfig(
    unnoticed=0.0, imagined=0.0, identity_error=0.0, pose_error_degrees=0.0, shift_error_px=0.0, expression_error=0.0,
    spatial_error=0.0, tone_error=0.0, found=1.0,
)  # fmt: skip


@dataclass(frozen=True)
class AlbedoPool(TensorRecord):
    """Detailed albedo maps and the coefficients that describe them best."""

    uv_albedo: Float[Tensor, "face 3 height width"]
    albedo_coeffs: Float[Tensor, "face albedo"]


def make_pool(prior: AlbedoPrior, count: int, resolution: int, generator: torch.Generator) -> AlbedoPool:
    """Draw a pool with equal mass in the six ITA groups (half precision; ``generator`` on the CPU)."""
    maps, coefficients = [], []
    for start in range(0, count, 32):
        coeffs = prior.sample(min(32, count - start), generator)
        maps.append(sample_detailed_albedo(prior, coeffs, generator, resolution, config=DETAIL).uv_albedo.half())
        coefficients.append(coeffs)
    return AlbedoPool(torch.cat(maps), torch.cat(coefficients))


@dataclass(frozen=True)
class FaceFabricator:
    """Makes scenes of fabricated faces.

    Attributes:
        stage: models and masks.
        pool: albedo maps on the stage's device.
        environments: SH radiance of surroundings, order 4, mean luminance 1.
        fit_light: what the real fit does; injected, as training does not know it.
        size: of the crops, pixels.
        config: how faces differ.
        fused: let torch compile the lighting.
    """

    stage: Stage
    pool: AlbedoPool
    environments: Float[Tensor, "environment 3 25"]
    fit_light: LightFitter
    size: int = 256
    config: FabricateConfig = FabricateConfig()
    fused: bool = False

    @torch.no_grad()
    def make(self, count: int, generator: torch.Generator) -> Scene:
        """Return new faces as photos with erring fits, and their truth."""
        draw = Draw(count, generator)
        rows = torch.randint(len(self.pool.uv_albedo), (count,), generator=generator, device=generator.device)
        albedo = self.pool.uv_albedo[rows].float()
        mirrored = draw.chance(0.5).view(-1, 1, 1, 1) > 0
        albedo = self._warped(draw, torch.where(mirrored, albedo.flip(-1), albedo))
        batch = self._posed(draw, self.pool.albedo_coeffs[rows])
        photo = self._photograph(draw, batch, albedo)
        codes = (linear_to_srgb(photo).clamp(0, 1) * 255).round().to(torch.uint8)
        return self._fitted(draw, replace(batch, photo_srgb=codes), albedo)

    def _warped(self, draw: Draw, albedo: Tensor) -> Float[Tensor, "batch 3 height width"]:
        """Move features smoothly in the atlas: no face has its brows exactly where the model has them."""
        size = albedo.shape[-1]
        amount = 2 * self.config.warp * draw.uniform(1)[..., None, None]
        offset = amount * _smooth_noise(draw, (6, 6), size, channels=2)
        axis = (torch.arange(size, device=draw.device) + 0.5) * (2 / size) - 1
        places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1) + offset.permute(0, 2, 3, 1)
        return torch.nn.functional.grid_sample(albedo, places, padding_mode="border", align_corners=False)

    def _posed(self, draw: Draw, albedo_coeffs: Tensor) -> CropBatch:
        """Shape, pose and camera, with an empty photo."""
        c, model, size = self.config, self.stage.model, self.size
        identity = draw.normal(model.n_identity) * model.identity_sampling_std
        # A few units active at a time.
        expression = draw.uniform(model.n_expression) ** 4 * (draw.uniform(model.n_expression) < 0.25)
        expression = 0.7 * expression * draw.uniform(1)
        angles = (draw.normal(3) * draw.like([c.yaw, c.pitch, c.roll])).unbind(1)
        rotation = euler_degrees_to_matrix(*angles)
        distance = c.distance * (c.distance_log_sigma * draw.normal()).exp()
        share = draw.between(*c.face_share)
        # The face is about 0.21 m from chin to hairline.
        focal = size * distance / (0.21 * share)
        shift = draw.normal(2) * 0.03 * size
        translation = torch.stack([torch.zeros_like(distance), 0.02 * torch.ones_like(distance), -distance], dim=1)
        blank = torch.zeros(draw.count, 4, size, size, dtype=torch.uint8, device=focal.device)
        coarse = 32
        return CropBatch(
            photo_srgb=blank[:, :3],
            valid=blank[:, 3:] + 255,
            uv_trust=self._trust(draw, coarse),
            coefficients=FaceCoefficients(identity, expression, albedo_coeffs),
            pose=Pose(rotation, translation),
            camera=Camera(focal, size / 2 + shift, size, size),
            sh_radiance=torch.zeros(draw.count, 3, 9, device=focal.device),
        )

    def _trust(self, draw: Draw, size: int) -> Tensor:
        """Face mask of the fit: on half of the faces a soft blob is distrusted, as if hair or a hand were there."""
        axis = (torch.arange(size, device=draw.device) + 0.5) / size
        centre, radius = draw.uniform(2) * 0.7 + 0.15, draw.uniform(1) * 0.12 + 0.03
        across = (axis[None] - centre[:, :1]) ** 2
        down = (axis[None] - centre[:, 1:]) ** 2
        blob = torch.exp(-(across[:, None, :] + down[:, :, None]) / radius[..., None] ** 2)
        kept = 1 - (blob > 0.4).float() * draw.chance(0.5)[:, None, None]
        return (kept * 255).to(torch.uint8)[:, None]

    def _photograph(self, draw: Draw, batch: CropBatch, albedo: Tensor) -> Float[Tensor, "batch 3 height width"]:
        """Light the face and take its picture."""
        c, stage = self.config, self.stage
        world = stage.model.decode(batch.coefficients.identity_coeffs, batch.coefficients.expression_coeffs)
        view = world_to_view(world, batch.pose)
        _, buffer = render_gbuffer(stage.model, view, batch.camera, stage.rasterizer)
        exponent = torch.exp(c.openness_log * draw.normal(1))[..., None, None]
        normals, cavity = self._relief(draw, buffer)
        openness = read_atlas(stage.uv_openness.expand(draw.count, -1, -1, -1), buffer.uv) ** exponent * cavity
        light = self._light(draw)
        surface = read_atlas(albedo, buffer.uv)
        direction, colour, seen, sharpness = self._lamp(draw, view, buffer)
        image, shading = illuminator(self.fused)(
            LitFace(
                surface, normals, buffer.position_view, openness, cavity, light, direction, colour, seen, sharpness,
                gloss=c.gloss * draw.uniform(),
            )
        )  # fmt: skip
        skin = buffer.skin_coverage.float() * (surface.mean(1, keepdim=True) > 0)
        image = torch.where(buffer.skin_coverage, image, 0.45 * shading * buffer.coverage)
        cast = self._white_balance(draw, light)
        image = image * cast
        mean = (image * skin).sum((1, 2, 3)) / (3 * skin.sum((1, 2, 3))).clamp(min=1)
        wanted = torch.exp(draw.between(*(math.log(value) for value in c.exposure)))
        image = image * (wanted / mean.clamp(min=1e-4)).view(-1, 1, 1, 1)
        backdrop = draw.uniform(3).square()[:, :, None, None].expand_as(image)
        image = torch.where(buffer.coverage, image, backdrop)
        return self._camera(draw, image.clamp(0, 1))

    def _light(self, draw: Draw) -> Float[Tensor, "batch 3 25"]:
        """Surroundings, turned at random: about the vertical freely, otherwise a little."""
        pick = torch.randint(len(self.environments), (draw.count,), generator=draw.generator, device=draw.device)
        around = draw.uniform() * 360
        tilt = draw.normal() * 12
        turn = euler_degrees_to_matrix(around, tilt, tilt * 0)
        return rotate_sh(self.environments[pick], turn[:, None])

    def _lamp(self, draw: Draw, vertices_view: Tensor, buffer: GBuffer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a lamp's direction, colour (0 on faces that have none), visibility and sharpness of its highlight."""
        c, stage = self.config, self.stage
        direction = unit(draw.normal(3) + draw.like([0.0, 0.5, 0.8]))
        softness = torch.exp(draw.between(*(math.log(value) for value in c.lamp_softness)))
        seen = lamp_visibility(
            vertices_view, stage.model.triangles, buffer.position_view, direction, softness, stage.rasterizer
        )
        strength = draw.chance(c.lamp_share) * draw.uniform() ** 1.5 * c.lamp_strength
        colour = strength[:, None] * torch.exp(0.15 * draw.normal(3))
        return direction, colour, seen, torch.exp(draw.between(math.log(6.0), math.log(50.0)))

    def _relief(
        self, draw: Draw, buffer: GBuffer
    ) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 1 height width"]]:
        """Return normals with pores and wrinkles, and how open the wrinkles' bottoms are: all of it is shading."""
        size, c = self.stage.resolution, self.config
        height = torch.zeros(draw.count, 1, size, size, device=draw.device)
        for rows, columns in ((size // 4, size // 4), (size // 8, size // 24), (size // 24, size // 8)):
            fine = _smooth_noise(draw, (rows, columns), size)
            height = height + fine * draw.uniform(1)[..., None, None] * (4 / max(rows, columns) * size) / 8
        height = height * c.relief * draw.uniform(1)[..., None, None] ** 2
        crease = self._creases(draw, size) * draw.uniform(1)[..., None, None]
        height = height - c.creases * crease
        slopes = torch.cat([_slope(height, -1), _slope(height, -2), crease], dim=1)
        tilt = read_atlas(slopes, buffer.uv)
        flat = torch.zeros_like(tilt[:, :1])
        # The atlas lies upright and not mirrored: its axes are about those of the view (v runs down).
        normals = unit(buffer.normal_view + torch.cat([-tilt[:, :1], tilt[:, 1:2], flat], dim=1))
        return normals, 1 - c.cavity * draw.uniform(1)[..., None, None] * tilt[:, 2:]

    def _creases(self, draw: Draw, size: int) -> Float[Tensor, "batch 1 height width"]:
        """Thin lines in [0, 1]: where smooth noise changes its sign; in parts of the face only, on a part of the faces.

        A line is as wide as the noise stays within ``width`` of 0: two to five texels at 256.
        """
        found = torch.zeros(draw.count, 1, size, size, device=draw.device)
        for rows, columns in ((12, 4), (4, 9), (7, 7)):
            width = 0.04 + 0.08 * draw.uniform(1)[..., None, None]
            lines = torch.exp(-((_smooth_noise(draw, (rows, columns), size) / width) ** 2))
            here = torch.sigmoid(6 * (_smooth_noise(draw, (5, 5), size) - 0.4))
            found = torch.maximum(found, lines * here * draw.chance(0.6)[:, None, None, None])
        return found

    def _white_balance(self, draw: Draw, light: Tensor) -> Tensor:
        """Factors that take most of the light's colour out."""
        colour = light[:, :, 0] / light[:, :, 0].mean(1, keepdim=True)
        left = self.config.white_balance * draw.uniform(1)
        return (colour.clamp(min=0.05) ** (left - 1) * torch.exp(0.03 * draw.normal(3)))[:, :, None, None]

    def _camera(self, draw: Draw, image: Tensor) -> Tensor:
        """Blur and noise."""
        blurred = blur_each(image, self.config.blur_px * draw.uniform() + 0.15, radius=3)
        level = self.config.noise * draw.uniform(1)[..., None, None]
        grain = draw.normal(*image.shape[1:])
        return blurred + level * grain * (0.1 + blurred).sqrt()

    def _fitted(self, draw: Draw, batch: CropBatch, albedo: Tensor) -> Scene:
        """What a fit would have made of the photo, beside the truth."""
        stage = self.stage
        truth = Truth(albedo, self._counts(draw), torch.ones(draw.count, device=draw.device))
        scene = make_scene(stage, self._misfit(draw, batch), truth)
        face, step = scene.face, LIGHT_FIT_STRIDE
        maps = (
            face.observation.uv_texture, face.prior_albedo, face.observation.uv_normal_view,
            face.observation.uv_visibility * stage.skin_region, face.uv_openness,
        )  # fmt: skip
        light = self.fit_light(*(uv_map[..., ::step, ::step] for uv_map in maps))
        return replace(scene, face=replace(face, sh_radiance=light))

    def _counts(self, draw: Draw) -> Tensor:
        region = self.stage.face_region
        mask = self.stage.atlas_mask * (ELSEWHERE + (1 - ELSEWHERE) * region)
        return mask.expand(draw.count, -1, -1, -1)

    def _misfit(self, draw: Draw, batch: CropBatch) -> CropBatch:
        """Coefficients, pose and camera as a fit would find them."""
        c, true = self.config, batch.coefficients
        identity = true.identity_coeffs + c.identity_error * draw.normal(true.identity_coeffs.shape[1])
        wrong = c.expression_error * draw.normal(true.expression_coeffs.shape[1])
        expression = (true.expression_coeffs + wrong).clamp(0, 1)
        tone = true.albedo_coeffs[:, :2] + c.tone_error * draw.normal(2)
        # A fit finds part of the spatial coefficients, and says 0 rather than something wrong.
        part = c.found + (1 - c.found) * draw.uniform(1)
        noticed = part * draw.chance(1 - c.unnoticed)[:, None]
        imagined = draw.chance(c.imagined)[:, None]
        found = torch.lerp(true.albedo_coeffs[:, 2:] * noticed, true.albedo_coeffs.roll(1, 0)[:, 2:], imagined)
        rest = found + c.spatial_error * draw.normal(true.albedo_coeffs.shape[1] - 2)
        rest = torch.cat([rest[:, :-1], torch.zeros_like(rest[:, :1])], dim=1)
        angles = (c.pose_error_degrees * draw.normal(3)).unbind(1)
        rotation = euler_degrees_to_matrix(*angles) @ batch.pose.rotation
        shift = c.shift_error_px * draw.normal(2)
        camera = replace(batch.camera, principal_px=batch.camera.principal_px + shift)
        coefficients = FaceCoefficients(identity, expression, torch.cat([tone, rest], dim=1))
        return replace(batch, coefficients=coefficients, pose=replace(batch.pose, rotation=rotation), camera=camera)


@dataclass(frozen=True)
class Draw:
    """Random numbers for a batch."""

    count: int
    generator: torch.Generator

    @property
    def device(self) -> torch.device:
        """Of the generator."""
        return self.generator.device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal values, [batch, *shape]."""
        return torch.randn(self.count, *shape, generator=self.generator, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform values in [0, 1), [batch, *shape]."""
        return torch.rand(self.count, *shape, generator=self.generator, device=self.device)

    def between(self, low: float, high: float) -> Float[Tensor, "batch"]:
        """Uniform values in [low, high)."""
        return low + (high - low) * self.uniform()

    def chance(self, share: float) -> Float[Tensor, "batch"]:
        """1 with a probability of ``share``, else 0."""
        return (self.uniform() < share).float()

    def like(self, values: list[float]) -> Tensor:
        """A constant on the device."""
        return torch.tensor(values, device=self.device)


def _smooth_noise(draw: Draw, cells: tuple[int, int], size: int, channels: int = 1) -> Tensor:
    """Return noise of about unit variance that changes over ``1 / cells`` of a map, [batch, channels, size, size]."""
    noise = draw.normal(channels, *cells)
    return torch.nn.functional.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)


def _slope(height: Tensor, axis: int) -> Tensor:
    """Central differences, 0 at the border's far side."""
    return (height.roll(-1, axis) - height.roll(1, axis)) / 2
