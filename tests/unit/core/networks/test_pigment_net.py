"""The pigment network's file, what its shares do to detail, and what the shipped one knows."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from facealbedo.assets.pigment import load_pigment_net
from facealbedo.core.networks.pigment import detail_part, hairiness, pigment_detail
from facealbedo.core.networks.pigment_net import PigmentNet, PigmentNetError, pigment_channels, pigment_shares

S = 64


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log ratio and log prior of noise; full trust; skin everywhere but in a band of features."""
    generator = torch.Generator().manual_seed(seed)
    ratio = 0.2 * torch.randn(2, 3, S, S, generator=generator)
    features = torch.zeros(1, 1, S, S)
    features[..., 40:50, 20:44] = 1
    return ratio, torch.full((2, 3, S, S), -1.2), torch.ones(2, 1, S, S), 1 - features, features


def test_shares_of_nought_pass_nothing_of_skin_and_brows_go_by_colour() -> None:
    ratio, prior, trust, skin, features = maps()
    on_skin = (skin > 0.5).expand(2, 3, S, S)
    by_colour = pigment_detail(ratio, prior, trust, skin, features)
    for share in (0.0, 1.0):
        found = pigment_detail(*maps(), shares=torch.full((2, 2, S, S), share))
        torch.testing.assert_close(found[~on_skin], by_colour[~on_skin])
        assert (found[on_skin].abs().max() == 0) == (share == 0)


def test_shares_of_one_pass_short_dark_detail_as_it_is() -> None:
    """Little of it, so that it is no hair, and grey, so that there is no hue to shorten."""
    spots = torch.zeros(1, 1, S, S)
    spots[..., 8::16, 8::16] = -0.1
    ratio, ones, none = spots.expand(1, 3, S, S), torch.ones(1, 1, S, S), torch.zeros(1, 1, S, S)
    found = pigment_detail(ratio, 0 * ratio, ones, ones, none, shares=torch.ones(1, 2, S, S))
    expected = detail_part(ratio, ones, none).clamp(max=0)
    torch.testing.assert_close(found.clamp(max=0), expected, atol=1e-4, rtol=0)


def test_skin_beside_a_beard_stays_and_the_beard_has_most_of_its_depth() -> None:
    beard = torch.zeros(1, 1, 256, 256)
    beard[..., 150:170, 80:176] = 1
    highlight = torch.zeros(1, 1, 256, 256)
    highlight[..., 172:176, 120:130] = 0.5
    ones = torch.ones(1, 1, 256, 256)
    ratio = (highlight - 0.8 * beard).expand(1, 3, -1, -1)
    shares = torch.maximum(beard, (highlight > 0).float()).expand(1, 2, -1, -1)
    found = pigment_detail(ratio, 0 * ratio, ones, ones, 0 * ones, shares=shares)[:, :1]
    assert found[beard > 0].max() < -0.55
    assert found[beard > 0].min() < -0.75
    assert found[(beard == 0) & (highlight == 0)].abs().max() < 1e-6
    assert found[highlight > 0].max() < 0.1
    # Far from hair something may be lighter: a patch without melanin.
    alone = pigment_detail(highlight.expand(1, 3, -1, -1), 0 * ratio, ones, ones, 0 * ones, shares=shares)[:, :1]
    assert alone[highlight > 0].min() > 0.45


def test_a_beard_is_hair_and_a_mole_is_not() -> None:
    pigment, ones = torch.zeros(1, 3, 256, 256), torch.ones(1, 1, 256, 256)
    pigment[..., 150:200, 60:196] = -0.6
    pigment[..., 60:62, 60:63] = -1.0
    found = hairiness(pigment, ones)[0, 0]
    assert found[165:185, 80:176].min() == 1
    assert found[:100].max() < 0.5
    assert hairiness(-pigment, ones).max() == 0


def test_coarse_shares_are_enlarged() -> None:
    coarse = torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    fine = torch.nn.functional.interpolate(coarse, size=(S, S), mode="bilinear", align_corners=False)
    torch.testing.assert_close(pigment_detail(*maps(), shares=coarse), pigment_detail(*maps(), shares=fine))


def test_file_holds_the_network() -> None:
    torch.manual_seed(3)
    net = PigmentNet((8, 16, 16))
    with torch.no_grad():
        net.head.weight.normal_()
    channels = pigment_channels(*maps())
    again = PigmentNet.from_bytes(net.to_bytes())
    assert again.channels == (8, 16, 16)
    # Half precision keeps three digits.
    torch.testing.assert_close(pigment_shares(again, channels), net.eval()(channels).detach(), atol=3e-3, rtol=0)


def test_a_bad_file_is_named() -> None:
    good = PigmentNet((8, 16)).to_bytes()
    tensors = safetensors.torch.load(good)
    tensors["head.bias"][0] = torch.nan
    header = {"facealbedo-pigment-1": '{"channels": [8, 16]}'}
    wrong = {"facealbedo-pigment-1": '{"channels": [8, 24]}'}
    for bad in (
        good[:-100],
        b"nothing",
        safetensors.torch.save(tensors),
        safetensors.torch.save(tensors, header),
        safetensors.torch.save(tensors, wrong),
    ):
        with pytest.raises(PigmentNetError):
            PigmentNet.from_bytes(bad)


def test_the_shipped_network_sees_moles_not_wrinkles() -> None:
    """Both are dark, grey and equally deep; one is round and small, the other long: shape alone tells them apart."""
    size = 256
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    mole = -0.9 * torch.exp(-0.5 * (((rows - 130) ** 2 + (columns - 80) ** 2) / 1.5**2).float())
    crease = torch.exp(-0.5 * ((rows - 60 - 0.1 * (columns - 128)) / 1.5) ** 2)
    crease = -0.9 * crease * ((columns > 90) & (columns < 166))
    noise = 0.03 * torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    ratio = (mole + crease).expand(3, -1, -1)[None] + noise
    ones = torch.ones(1, 1, size, size)
    channels = pigment_channels(ratio, torch.full_like(ratio, -1.2), ones, ones, 0 * ones)
    along = pigment_shares(load_pigment_net(), channels)[0, 0]
    on_mole, on_crease = mole < -0.5, crease < -0.5
    assert along[on_mole].mean() > 0.8
    assert along[on_crease].mean() < 0.3
