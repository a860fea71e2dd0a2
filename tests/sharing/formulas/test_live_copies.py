"""Test the live copies of RNNs and attention by gradients.

The layers are written out in float64 with a copy of each weight at each site; the test counts copies with a gradient.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.func import functional_call

from support.models.layer_cases import Case, attentions, few, rnns

RNNS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Layers this small gain nothing from threads, and lose much where others want the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Copies = dict[str, Tensor]


def live(out: Tensor, copies: Copies) -> int:
    """Return how many copies have a gradient, for a random sum of the outputs."""
    gradients = torch.autograd.grad((out * torch.randn_like(out)).sum(), list(copies.values()))
    return sum(int(gradient.count_nonzero()) for gradient in gradients)


def elements(copies: Copies) -> int:
    return sum(copy.numel() for copy in copies.values())


def copies_of_steps(module: nn.RNNBase, steps: int) -> list[Copies]:
    """An RNN's parameters, named as those of a single cell: of each layer and direction, once for each step."""
    ends = ["", "_reverse"] if module.bidirectional else [""]
    ends = [f"_l{layer}{end}" for layer in range(module.num_layers) for end in ends]
    return [
        {
            name.removesuffix(end) + "_l0": parameter.detach().clone().requires_grad_()
            for name, parameter in module.named_parameters()
            if name.endswith(end)
        }
        for end in ends
        for _ in range(steps)
    ]


def unrolled(module: nn.RNNBase, x: Tensor, copies: list[Copies]) -> Tensor:
    """Apply the RNN as cells with their own parameters."""
    remaining = iter(copies)
    for _ in range(module.num_layers):
        halves = []
        for backward in (False, True) if module.bidirectional else (False,):
            projection = {"proj_size": module.proj_size} if isinstance(module, nn.LSTM) else {}
            cell = RNNS[module.mode.lower().removesuffix("_tanh")](
                x.shape[1], module.hidden_size, bias=module.bias, **projection
            ).double()
            state: tuple[Any, ...] = ()
            outs = []
            for step in x.flip(0) if backward else x:
                out, after = functional_call(cell, next(remaining), (step[None], *state))
                outs.append(out)
                state = (after,)
            halves.append(torch.cat(outs[::-1] if backward else outs))
        x = torch.cat(halves, dim=1)
    return x


@few
@given(rnns())
def test_live_copies_of_an_unrolled_rnn_have_a_gradient_or_are_gates_of_a_zero_state(layer: Case) -> None:
    """At the first step an LSTM's cell is zero, and so its forget gate does nothing with the data that it meets; nor
    does a GRU's reset gate if there is no bias to reset. The formula counts what meets data, with these copies.
    """
    module, (x,) = layer.module, layer.inputs
    assert isinstance(module, nn.RNNBase)
    steps = copies_of_steps(module, len(x))
    out = unrolled(module, x, steps)
    assert out.allclose(layer.out)

    first = steps[:: len(x)]
    gate = sum(module.hidden_size * (cell["weight_ih_l0"].shape[1] + 2 * module.bias) for cell in first)
    idle = gate if isinstance(module, nn.LSTM) or (isinstance(module, nn.GRU) and not module.bias) else 0
    copies = {f"{index}.{name}": copy for index, step in enumerate(steps) for name, copy in step.items()}
    assert layer.regimes.unshared == elements(copies)
    assert layer.regimes.unshared_live == live(out, copies) + idle


def copies_of_positions(module: nn.MultiheadAttention, target: int, source: int) -> Copies:
    """Return the matrices q, k, v, o and their biases, once for each position."""
    own = dict(module.named_parameters())
    packed = own["in_proj_weight"].chunk(3) if "in_proj_weight" in own else ()
    matrices = packed or tuple(own[f"{name}_proj_weight"] for name in "qkv")
    shared = dict(zip("qkvo", (*matrices, own["out_proj.weight"]), strict=True))
    if "in_proj_bias" in own:
        biases = (*own["in_proj_bias"].chunk(3), own["out_proj.bias"])
        shared |= dict(zip(("q bias", "k bias", "v bias", "o bias"), biases, strict=True))
    return {
        name: tensor.detach().repeat(source if name[0] in "kv" else target, *[1] * tensor.dim()).requires_grad_()
        for name, tensor in shared.items()
    }


def attended(heads: int, inputs: tuple[Tensor, ...], copies: Copies) -> Tensor:
    """Apply multi-head attention with matrices of its own at each position."""

    def project(name: str, x: Tensor) -> Tensor:
        return torch.einsum("tfd,td->tf", copies[name].view(len(x), -1, x.shape[1]), x) + bias(name, x)

    def bias(name: str, x: Tensor) -> Tensor | int:
        return copies[f"{name} bias"].view(len(x), -1) if f"{name} bias" in copies else 0

    q, k, v = (project(name, x).view(len(x), heads, -1).transpose(0, 1) for name, x in zip("qkv", inputs, strict=True))
    mixed = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
    return project("o", mixed.transpose(0, 1).flatten(1))


@few
@given(attentions())
def test_live_copies_of_attention_equal_the_copies_with_a_gradient(layer: Case) -> None:
    assert isinstance(layer.module, nn.MultiheadAttention)
    copies = copies_of_positions(layer.module, len(layer.inputs[0]), len(layer.inputs[1]))
    out = attended(layer.module.num_heads, layer.inputs, copies)
    assert out.allclose(layer.out)
    assert layer.regimes.unshared == elements(copies)
    assert layer.regimes.unshared_live == live(out, copies)
