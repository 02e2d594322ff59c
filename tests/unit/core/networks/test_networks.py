from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.lighting.sh import mirror_sh, shading
from facealbedo.core.networks import PRESETS, NetworkConfig, RefinerInput, build_refiner, log_quotient
from facealbedo.core.networks.blocks import Upsample
from facealbedo.core.networks.pigment import believed
from facealbedo.core.networks.refiner import change_of_tone, face_pigment, log_ratio, soft_ceiling
from facealbedo.core.types import UVObservation


def make_face(batch: int = 2, size: int = 32, seed: int = 0, visible: float | None = None) -> RefinerInput:
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator) * 0.98 + 0.01

    normals = nn.functional.normalize(uniform(batch, 3, size, size) * 2 - 1, dim=1)
    light = uniform(batch, 3, 9) * 0.4 - 0.2
    light[:, :, 0] = 3.0
    trust = uniform(batch, 1, size, size) if visible is None else torch.full((batch, 1, size, size), visible)
    observation = UVObservation(uniform(batch, 3, size, size) * 0.6 + 0.02, trust, normals)
    prior, openness = uniform(batch, 3, size, size) * 0.5 + 0.1, uniform(batch, 1, size, size)
    return RefinerInput(observation, prior, light, openness, uniform(batch, 2, size, size))


def parameters(preset: str) -> int:
    return sum(p.numel() for p in build_refiner(PRESETS[preset]).parameters())


def test_paper_has_the_size_of_the_original():
    # METHOD.md counts 35.58 M; by hand, with biases: encoder 2,824,576 + 6 residual blocks 28,329,984 + decoders.
    assert parameters("paper") == 35_578_142
    assert round(parameters("paper") / 1e6, 2) == 35.58


def test_default_is_small_enough_to_ship():
    assert 5e6 < parameters("default") <= 15e6
    assert parameters("default") * 2 <= 30 * 2**20


@pytest.mark.parametrize(("preset", "light_size"), [("paper_tiny", 32), ("tiny", 8)])
def test_shapes_ranges_and_gradients(preset, light_size):
    face = make_face()
    refiner = build_refiner(PRESETS[preset])
    output = refiner(face)
    assert output.uv_albedo.shape == (2, 3, 32, 32)
    assert output.uv_illumination.shape == (2, 27, light_size, light_size)
    assert (output.uv_albedo > 0).all()
    assert (output.uv_albedo <= 1).all()
    sums = (output.uv_albedo, output.uv_illumination.square(), output.log_variance, output.uv_log_gain)
    sum(part.sum() for part in sums).backward()
    without = [name for name, p in refiner.named_parameters() if p.grad is None]
    assert without == []


def test_fresh_residual_network_is_prior_and_gated_quotient():
    face = make_face()
    output = build_refiner(dataclasses.replace(PRESETS["tiny"], baked_light=False))(face)
    most, hardly = 1 / (1 + math.exp(-3.0)), 1 / (1 + math.exp(3.0))
    ratio = log_ratio(face)
    belief = believed(face.observation.uv_visibility)
    pigment = face_pigment(face, ratio)
    taken = belief * (most * pigment + hardly * (ratio - pigment))
    taken = taken - change_of_tone(taken, face.uv_regions[:, :1])
    expected = soft_ceiling(face.prior_albedo * torch.exp(taken))
    torch.testing.assert_close(output.uv_albedo, expected.clamp(min=1e-3))
    flat = face.sh_radiance.reshape(2, 27, 1, 1).expand_as(output.uv_illumination)
    torch.testing.assert_close(output.uv_illumination, flat)


def test_the_skin_keeps_the_tone_of_the_prior_whatever_the_network_says():
    face, refiner = make_face(), build_refiner(PRESETS["tiny"])
    nn.init.normal_(refiner.network.head.weight, std=0.02)
    refiner.network.head.bias.data[:3] = torch.tensor([0.2, -0.2, 0.1])
    skin = face.uv_regions[:, :1]
    change = (refiner(face).uv_albedo / face.prior_albedo).log()
    mean = (change * skin).sum((2, 3)) / skin.sum((2, 3))
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=2e-3, rtol=0)
    assert change.std() > 0.02


@pytest.mark.parametrize("gate", [-30.0, 0.3, 30.0])
def test_albedo_times_shading_shows_a_grey_photo_whatever_the_gate_says(gate):
    """The part of the quotient that is not pigment is light: their product does not depend on the gate."""
    face = make_face(visible=1.0)
    grey = face.prior_albedo * face.fitted_shading() * (1 + 0.3 * torch.rand(2, 1, 32, 32))
    seen = UVObservation(grey, face.observation.uv_visibility, face.observation.uv_normal_view)
    face = dataclasses.replace(face, observation=seen, prior_albedo=face.prior_albedo * 0.5)
    refiner = build_refiner(PRESETS["tiny"])
    refiner.network.head.bias.data[3:5] = torch.tensor([gate, -gate])
    output = refiner(face)
    product = output.uv_albedo * output.uv_log_gain.exp()
    torch.testing.assert_close(product, face.prior_albedo * log_quotient(face).exp(), atol=2e-3, rtol=2e-3)


def test_unseen_texels_start_as_the_prior():
    face = make_face(visible=0.0)
    output = build_refiner(PRESETS["tiny"])(face)
    torch.testing.assert_close(output.uv_albedo, face.prior_albedo)
    assert output.detail_gates.abs().max() == 0


def test_quotient_of_a_rendered_face_is_zero_and_of_a_brighter_one_the_log():
    face = make_face(visible=1.0)
    rendered = face.prior_albedo * shading(face.sh_radiance, face.observation.uv_normal_view) * face.uv_openness
    exact = dataclasses.replace(face, observation=dataclasses.replace(face.observation, uv_texture=rendered))
    assert log_quotient(exact).abs().max() < 1e-5
    brighter = dataclasses.replace(face, observation=dataclasses.replace(face.observation, uv_texture=rendered * 1.5))
    expected = torch.full_like(rendered, 2 * math.tanh(math.log(1.5) / 2))
    torch.testing.assert_close(log_quotient(brighter), expected, atol=1e-4, rtol=0)


def test_what_the_network_sees_of_a_mirrored_photo_is_mirrored():
    face = make_face()
    refiner = build_refiner(PRESETS["tiny"])
    here, there = refiner.channels(face), refiner.channels(face.mirrored())
    own, partner = slice(6, 9), slice(9, 12)
    torch.testing.assert_close(there[:, :6], here[:, :6].flip(-1))
    torch.testing.assert_close(there[:, own], here[:, own].flip(-1), atol=1e-5, rtol=1e-5)
    # The mirrored side's quotient is a channel of its own, read at the same texel.
    torch.testing.assert_close(here[:, partner], here[:, own].flip(-1))
    pigment, other_pigment = slice(12, 15), slice(15, 18)
    torch.testing.assert_close(there[:, pigment], here[:, pigment].flip(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(here[:, other_pigment], here[:, pigment].flip(-1))
    torch.testing.assert_close(there[:, 20], -here[:, 20].flip(-1))  # x of the normal
    torch.testing.assert_close(there[:, 21:23], here[:, 21:23].flip(-1))
    torch.testing.assert_close(there[:, 23], here[:, 23].flip(-1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mirror_sh(face.mirrored().sh_radiance), face.sh_radiance)


def test_a_mirror_symmetric_kernel_commutes_with_the_mirror():
    """Every layer is exactly centred: with symmetric kernels and a symmetric input the answer is symmetric."""
    torch.manual_seed(0)
    unet = build_refiner(PRESETS["tiny"]).network.double()
    for module in unet.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.2)
            module.weight.data = (module.weight.data + module.weight.data.flip(-1)) / 2
    x = torch.randn(1, 24, 32, 32, dtype=torch.float64)
    for there, here in zip(unet.eval()(x.flip(-1)), unet(x), strict=True):
        torch.testing.assert_close(there, here.flip(-1))


def test_paper_fills_unseen_texels_with_reproducible_noise():
    face = make_face(visible=0.0)
    refiner = build_refiner(PRESETS["paper_tiny"])
    first, second = refiner.channels(face), refiner.channels(face)
    assert torch.equal(first, second)
    filled = first[:, :3]
    assert abs(filled.mean()) < 0.06
    assert abs(filled.std() - 1) < 0.05
    given = torch.randn(2, 3, 32, 32)
    assert torch.equal(refiner.channels(face, given)[:, :3], given)
    seen = make_face(visible=1.0)
    torch.testing.assert_close(
        refiner.channels(seen, given)[:, :3], linear_to_srgb(seen.observation.uv_texture) * 2 - 1
    )


def test_channels_last_gives_the_same():
    torch.manual_seed(1)
    face = make_face()
    refiner = build_refiner(PRESETS["tiny"]).eval()
    nn.init.normal_(refiner.network.head.weight, std=0.1)
    plain = refiner(face).uv_albedo
    last = refiner.to(memory_format=torch.channels_last)(face).uv_albedo
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=1e-5)


def test_soft_ceiling_keeps_skin_and_stays_below_one():
    x = torch.linspace(0, 5, 501, dtype=torch.float64)
    y = soft_ceiling(x)
    assert torch.equal(y[x <= 0.9], x[x <= 0.9])
    assert (y <= 1).all()
    assert (y.diff() >= 0).all()


def test_bad_configurations_are_named():
    with pytest.raises(ValueError, match="power of two"):
        build_refiner(NetworkConfig(light_factor=3))
    with pytest.raises(ValueError, match="multiples of 4"):
        build_refiner(PRESETS["tiny"]).network(torch.zeros(1, 24, 30, 30))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 8)])
def test_upsample_is_torchs_own(shape):
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    expected = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Upsample()(x), expected)


def test_without_a_light_map_the_light_stays_the_fitted_one():
    face = make_face()
    config = dataclasses.replace(PRESETS["tiny"], light_map=False)
    torch.manual_seed(3)
    refiner = build_refiner(config)
    for parameter in refiner.parameters():
        nn.init.normal_(parameter, std=0.1)
    output = refiner(face)
    assert output.uv_illumination.shape == (2, 27, 8, 8)
    assert torch.equal(output.uv_illumination, face.sh_radiance.reshape(2, 27, 1, 1).expand(2, 27, 8, 8))
    output.uv_albedo.sum().backward()
    # No layer idles: several devices wait for the gradient of each.
    assert [name for name, p in refiner.named_parameters() if p.grad is None] == []


def test_without_a_gain_light_alone_shades():
    face = make_face()
    torch.manual_seed(3)
    with_gain = build_refiner(PRESETS["tiny"])
    without = build_refiner(dataclasses.replace(PRESETS["tiny"], shading_gain=False))
    without.load_state_dict(with_gain.state_dict())
    assert without(face).uv_log_gain.abs().max() == 0
    assert with_gain(face).uv_log_gain.abs().max() > 0
    assert torch.equal(without(face).uv_albedo, with_gain(face).uv_albedo)


@pytest.mark.parametrize("size", [32, 256])
def test_zeros_can_stand_for_unseen_texels(size):
    refiner = build_refiner(dataclasses.replace(PRESETS["paper_tiny"], unseen="zeros"))
    unseen = make_face(batch=1, size=size, visible=0.0)
    channels = refiner.channels(unseen)
    assert channels[:, :3].abs().max() == 0
    torch.testing.assert_close(channels[:, 3:], linear_to_srgb(unseen.prior_albedo) * 2 - 1)


def test_the_papers_network_needs_its_light_map():
    with pytest.raises(ValueError, match="light_map"):
        build_refiner(dataclasses.replace(PRESETS["paper"], light_map=False))
