"""The simulated camera."""

from __future__ import annotations

import torch

from facealbedo.core.fabricate.camera_response import CameraConfig, CameraResponse, apply_response, sample_response


def neutral(count: int, gain: float = 1.0) -> CameraResponse:
    return CameraResponse(
        gain=torch.full((count, 3), gain),
        contrast=torch.zeros(count),
        saturation=torch.ones(count),
        rolloff=torch.zeros(count),
    )


def test_neutral_camera_keeps_values_and_clips() -> None:
    radiance = torch.tensor([[[0.0, 0.2, 0.7, 3.0]] * 3])
    developed = apply_response(neutral(1), radiance)
    torch.testing.assert_close(developed, radiance.clamp(max=1), atol=1e-5, rtol=1e-5)


def test_gain_is_a_factor_on_linear_values() -> None:
    radiance = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 0.4
    torch.testing.assert_close(apply_response(neutral(2, 2.0), radiance), 2 * radiance, atol=1e-5, rtol=1e-4)


def test_response_keeps_the_order_of_brightness() -> None:
    generator = torch.Generator().manual_seed(1)
    colours = torch.rand(64, 3, generator=generator) + 0.1
    response = sample_response(colours * 0.3, colours, colours, generator)
    grey = torch.linspace(0, 1, 200)[None, None].expand(64, 3, -1)
    developed = apply_response(response, grey)
    # An extreme S-curve may flatten the ends, never turn the order around by more than rounding.
    assert developed.mean(1).diff(dim=-1).min() > -2e-3
    assert developed.min() >= 0
    assert developed.max() <= 1


def test_white_balance_takes_the_lights_colour_away() -> None:
    config = CameraConfig(balance_low=1.0, balance_high=1.0, balance_log_sd=0.0, exposure_log_sd=0.0)
    light = torch.tensor([[1.3, 1.0, 0.5]]).expand(8, -1)
    response = sample_response(light * 0.3, light, light, torch.Generator().manual_seed(0), config)
    seen = response.gain * light
    torch.testing.assert_close(seen[:, 0], seen[:, 1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[:, 2], seen[:, 1], rtol=1e-4, atol=1e-4)
