from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from facealbedo.assets import environments
from facealbedo.core.lighting import envmap, sh


@pytest.fixture(scope="module")
def loaded() -> environments.EnvironmentSet:
    return environments.load_environments()


def test_eighteen_small_maps(loaded: environments.EnvironmentSet) -> None:
    assert len(loaded.names) == len(set(loaded.names)) == 18
    assert loaded.maps.radiance.shape == (18, 3, 32, 64)
    assert loaded.maps.radiance.dtype == torch.float32
    assert loaded.maps.radiance.isfinite().all()
    assert (loaded.maps.radiance >= 0).all()
    assert (files("facealbedo.assets") / environments.ENVIRONMENTS_FILE).stat().st_size < 1e6  # type: ignore[attr-defined]


def test_mean_luminance_is_one(loaded: environments.EnvironmentSet) -> None:
    _, factors = envmap.scale_to_mean_luminance(loaded.maps)
    torch.testing.assert_close(factors, torch.ones(18), atol=1e-3, rtol=0)


def test_stored_sh_is_that_of_the_maps(loaded: environments.EnvironmentSet) -> None:
    torch.testing.assert_close(loaded.sh_radiance, envmap.project_to_sh(loaded.maps, 4), atol=2e-2, rtol=1e-3)
    assert torch.equal(loaded.sh("park", 2), loaded.sh_radiance[loaded.names.index("park")][None, :, :9])


def test_sh_irradiance_is_as_far_from_the_truth_as_the_study_found(loaded: environments.EnvironmentSet) -> None:
    # Order 2: 3.0 % RMS over the maps, worst 7.5 %; order 4: 1.2 %.
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(1, 400, 3, generator=generator), dim=-1).expand(18, -1, -1)
    truth = envmap.irradiance_by_summing(loaded.maps, normals)
    errors = []
    for order in (2, 4):
        approximate = sh.irradiance(loaded.sh_radiance[:, :, : (order + 1) ** 2], normals)
        errors.append((approximate - truth).square().mean((1, 2)).sqrt() / truth.square().mean((1, 2)).sqrt())
    assert 0.02 < errors[0].mean() < 0.035
    assert errors[0].max() < 0.09
    assert errors[1].mean() < 0.016


def test_by_name(loaded: environments.EnvironmentSet) -> None:
    index = loaded.names.index("studio")
    assert torch.equal(loaded["studio"].radiance, loaded.maps.radiance[index : index + 1])
    with pytest.raises(KeyError, match="apartment"):
        loaded["nowhere"]


@pytest.mark.shared
def test_building_again_gives_the_same_bytes(shared_data: Path, tmp_path: Path) -> None:
    target = tmp_path / "environments.safetensors"
    environments.main(shared_data / "hdri", target)
    committed = (files("facealbedo.assets") / environments.ENVIRONMENTS_FILE).read_bytes()
    again = environments.environments_from_bytes(target.read_bytes())
    first = environments.environments_from_bytes(committed)
    assert again.names == first.names
    torch.testing.assert_close(again.maps.radiance, first.maps.radiance, rtol=1e-3, atol=1e-6)


def test_building_without_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.exr"):
        environments.main(tmp_path, tmp_path / "out")
