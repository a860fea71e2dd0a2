"""Test the nets' sizes to the last parameter, that the twins of a net start as the same function, and that the graph
of a net is the net.
"""

import io
from typing import Any

import pytest
import torch

from paramshare import analyze
from paramshare.recipes.digits.net import DigitsNet
from paramshare.training.engines import train
from paramshare.training.export.programs import recipe_program
from paramshare.training.start import drawn_start
from support.specs import DIGITS_VARIANTS, digits_spec, replace

# 12×12 pixels, 144 positions of the first layer, 36 of the second. The parameters are those of ../shared/FACTS.md.
PARAMETERS = {"conv": 5_130, "local": 190_410, "dense": 999_114}
MACS = {"conv": 186_944, "local": 186_944, "dense": 995_648}


@pytest.mark.parametrize("variant", DIGITS_VARIANTS)
def test_each_digits_net_has_its_published_parameters_and_macs(variant: Any) -> None:
    spec = digits_spec(seed=0, variant=variant, steps=1)
    start = drawn_start(spec)
    net, report = start.model, analyze(start.model, args=start.example)
    assert sum(parameter.numel() for parameter in net.parameters()) == report.totals.shared == PARAMETERS[variant]
    assert train(spec).macs == report.totals.macs == MACS[variant]
    assert not report.warnings


def test_the_counts_of_the_shared_digits_net_equal_the_sizes_of_its_twins() -> None:
    totals = analyze(DigitsNet(), (1, 12, 12)).totals
    assert (totals.shared, totals.unshared, totals.dense) == tuple(PARAMETERS.values())
    assert (totals.macs, totals.dense_macs) == (MACS["conv"], MACS["dense"])


@pytest.mark.parametrize("placement", ["moved", "plain"])
def test_the_twins_of_a_seed_start_as_the_same_function(placement: Any) -> None:
    starts = [
        drawn_start(digits_spec(seed=2, variant=variant, placement=placement, steps=1)) for variant in DIGITS_VARIANTS
    ]
    scores = [start.model.double()(start.data.train[0][:50].double()) for start in starts]
    for other in scores[1:]:
        torch.testing.assert_close(other, scores[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("placement", ["moved", "plain"])
@pytest.mark.parametrize("variant", DIGITS_VARIANTS)
def test_the_exported_graph_of_a_digits_net_accepts_its_weights_and_any_batch_without_unpickling(
    variant: Any, placement: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = digits_spec(seed=2, variant=variant, placement=placement, channels=3, steps=1)
    start, program = drawn_start(spec), recipe_program(replace(spec, seed=0))
    net, shape = start.model, start.example[0].shape[1:]
    assert list(program.state_dict) == list(net.state_dict())

    file = io.BytesIO()
    torch.export.save(program, file)
    monkeypatch.setattr("pickle.Unpickler", None)
    graph = torch.export.load(io.BytesIO(file.getvalue())).module()
    graph.load_state_dict(net.state_dict())
    for batch in (1, 2, 7):
        images = torch.rand(batch, *shape)
        assert graph(images).equal(net(images))


def test_exporting_a_digits_net_does_not_change_the_global_generator() -> None:
    before = torch.get_rng_state()
    recipe_program(digits_spec(seed=0, variant="local", channels=2))
    assert torch.get_rng_state().equal(before)
