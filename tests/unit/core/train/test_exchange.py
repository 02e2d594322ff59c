"""Two processes that look at half of a batch each must do what one process does with the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import Tensor, nn

from facealbedo.core.train.exchange import Exchange

PROCESSES = 2


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2, affine=False)).to(
        memory_format=torch.channels_last
    )


def batch() -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(4))


def look(net: nn.Sequential, images: Tensor) -> None:
    """Backward of a mean over the batch that the norm takes no part in; the norm sees the batch besides."""
    net[:3](images).square().mean().backward()
    net(images)


def work(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    net = network()
    look(net, batch().chunk(PROCESSES)[rank])
    Exchange(net, PROCESSES).average()
    found = {"gradients": [parameter.grad for parameter in net.parameters()], "norm": net[3].state_dict()}
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_gradients_are_those_of_the_whole_batch_and_statistics_are_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The processes find this module by its name.
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[4]))
    torch.multiprocessing.spawn(work, (str(tmp_path),), nprocs=PROCESSES)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
    whole = network()
    look(whole, batch())
    for parameter, *gradients in zip(whole.parameters(), *(one["gradients"] for one in found), strict=True):
        assert torch.equal(*gradients)
        torch.testing.assert_close(gradients[0], parameter.grad)
    halves = []
    for half in batch().chunk(PROCESSES):
        net = network()
        net(half)
        halves.append(net[3].running_var)
    for one in found:
        torch.testing.assert_close(one["norm"]["running_var"], torch.stack(halves).mean(0))
        # The mean of equal halves is that of the whole.
        torch.testing.assert_close(one["norm"]["running_mean"], whole[3].running_mean)


def test_one_process_keeps_its_own() -> None:
    net = network()
    look(net, batch())
    before = [parameter.grad.clone() for parameter in net.parameters()]
    Exchange(net, 1).average()
    assert all(torch.equal(parameter.grad, value) for parameter, value in zip(net.parameters(), before, strict=True))
