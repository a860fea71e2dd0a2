"""Proves that a saved net takes its depth as an input, equals the trained net at every depth, and is its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paramshare.training.engines import train
from paramshare.training.export import save_exported
from paramshare.training.spec import DEPTHS, TrainSpec


@pytest.mark.parametrize("variant", ["shared", "untied"])
def test_a_saved_net_equals_the_trained_one_at_each_depth_and_any_batch(
    variant: str, small: TrainSpec, tmp_path: Path
) -> None:
    result = train(replace(small, variant=variant))
    save_exported(result.net, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    for batch in (1, 2, 7):
        x = torch.randn(batch, small.input_size)
        for depth in DEPTHS:
            assert loaded(x, depth=depth).equal(result.net(x, depth)), (batch, depth)


def test_nets_saved_one_after_the_other_keep_their_own_weights(small: TrainSpec, tmp_path: Path) -> None:
    nets = [train(replace(small, seed=seed)).net for seed in (1, 2)]
    kept = [{name: value.clone() for name, value in net.state_dict().items()} for net in nets]
    for index, net in enumerate(nets):
        save_exported(net, tmp_path / f"{index}.pt2")
    x = torch.randn(3, small.input_size)
    for index, net in enumerate(nets):
        assert torch.export.load(tmp_path / f"{index}.pt2").module()(x, depth=2).equal(net(x, 2))
        assert all(value.equal(kept[index][name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("depth", [-1, 4])
def test_a_saved_net_refuses_a_depth_out_of_range(depth: int, small: TrainSpec, tmp_path: Path) -> None:
    save_exported(train(small).net, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    with pytest.raises(AssertionError, match="depth"):
        loaded(torch.randn(2, small.input_size), depth=depth)
