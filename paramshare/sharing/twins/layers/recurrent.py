"""The unshared twin of an RNN, a GRU or an LSTM: weights for each time step."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from paramshare.errors import SpecError
from paramshare.sharing.twins.layers.unshared import Unshared, replicated

__all__ = ["LocalRecurrent"]

_State = tuple[Tensor, ...]


class LocalRecurrent(Unshared):
    """An RNN, GRU or LSTM, unfolded in time (Goodfellow, Bengio and Courville, "Deep Learning", 2016, section 10.1).

    Each parameter has its name in the layer and is (steps, *shape): `weight_ih_l0[t]` is applied at time t, in both
    directions. Sequences of a PackedSequence may be shorter than `steps`.

    Args:
        layer: the layer to copy: options, dtype, device and requires_grad.
        steps: T, the number of time steps of the sample.
    """

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(self, layer: nn.RNNBase, steps: int) -> None:
        super().__init__(layer, (steps, layer.input_size), 0 if layer.batch_first else 1)
        self.steps = steps
        for name, parameter in layer.named_parameters(recurse=False):
            self.register_copies(name, parameter, replicated(parameter, (steps,)))

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether the twin has weights for an input of `shape`, with or without a batch."""
        return tuple(shape) == self.input_shape or super().fits(shape)

    def flatten_parameters(self) -> None:
        """Do nothing: the copies are not laid out for cuDNN."""

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:  # noqa: A002 - named as torch's layers name it
        """Return the outputs and the last state.

        Args:
            input: (steps, input_size), with or without a batch axis by `batch_first`, or a PackedSequence.
            hx: the initial state, in the form of the layer. Defaults to zeros.

        Raises:
            SpecError: a PackedSequence has more steps than the twin.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        batched = input.dim() == 3
        if not batched:
            x, hx = input.unsqueeze(1), _mapped(hx, lambda state: state.unsqueeze(1))
        else:
            x = input.transpose(0, 1) if self.batch_first else input
        out, last = self._run(x, self._first(x, hx), None)
        if not batched:
            return out.squeeze(1), _mapped(last, lambda state: state.squeeze(1))
        return (out.transpose(0, 1) if self.batch_first else out), last

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        """Run sequences of several lengths, in the packed order."""
        steps = len(packed.batch_sizes)
        if steps > self.steps:
            raise SpecError(
                f"{type(self).__name__} got {steps} time steps and has weights for {self.steps}; give shorter "
                "sequences, or make a twin for longer ones"
            )
        x, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        if packed.sorted_indices is not None:
            hx = _mapped(hx, lambda state: state.index_select(1, packed.sorted_indices))
        out, last = self._run(x, self._first(x, hx), lengths.to(x.device))
        data = pack_padded_sequence(out, lengths).data
        if packed.unsorted_indices is not None:
            last = _mapped(last, lambda state: state.index_select(1, packed.unsorted_indices))
        return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices), last

    def _first(self, x: Tensor, hx: Any) -> _State:
        """Return the initial state; each of its tensors is (layers x directions, batch, features)."""
        if hx is not None:
            return tuple(hx) if self.mode == "LSTM" else (hx,)
        cells = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size] + [self.hidden_size] * (self.mode == "LSTM")
        return tuple(x.new_zeros(cells, x.shape[1], size) for size in sizes)

    def _run(self, x: Tensor, first: _State, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run all layers on x, (steps, batch, features)."""
        directions = 2 if self.bidirectional else 1
        last: list[_State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = functional.dropout(x, self.dropout, self.training)
            outs = []
            for direction in range(directions):
                state = tuple(part[layer * directions + direction] for part in first)
                name = f"l{layer}{'_reverse' if direction else ''}"
                out, state = self._scan(x, state, name, bool(direction), lengths)
                outs.append(out)
                last.append(state)
            x = torch.cat(outs, -1)
        stacked = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
        return x, stacked if self.mode == "LSTM" else stacked[0]

    def _scan(
        self, x: Tensor, state: _State, name: str, backwards: bool, lengths: Tensor | None
    ) -> tuple[Tensor, _State]:
        """Run one direction of one layer. A sequence that has not begun, or has ended, keeps its state."""
        outs: list[Tensor] = [x] * len(x)
        for time in reversed(range(len(x))) if backwards else range(len(x)):
            new = self._cell(x[time], state, name, time)
            if lengths is not None:
                runs = (lengths > time).unsqueeze(1)
                new = tuple(torch.where(runs, after, before) for after, before in zip(new, state, strict=True))
            state = new
            outs[time] = state[0]
        return torch.stack(outs), state

    def _cell(self, x: Tensor, state: _State, name: str, time: int) -> _State:
        """Return the state after one step, by the formulas of torch.nn.RNN, GRU and LSTM."""
        weight, bias = self._copy("weight_ih", name, time), self._bias("bias_ih", name, time)
        inward = functional.linear(x, weight, bias)
        weight, bias = self._copy("weight_hh", name, time), self._bias("bias_hh", name, time)
        if self.mode == "GRU":
            return (_gru(inward, state[0], weight, bias),)
        total = inward + functional.linear(state[0], weight, bias)
        if self.mode != "LSTM":
            return (torch.relu(total) if self.mode == "RNN_RELU" else torch.tanh(total),)
        gate_in, forget, new, gate_out = total.chunk(4, 1)
        cell = forget.sigmoid() * state[1] + gate_in.sigmoid() * new.tanh()
        hidden = gate_out.sigmoid() * cell.tanh()
        return (functional.linear(hidden, self._copy("weight_hr", name, time)) if self.proj_size else hidden), cell

    def _copy(self, kind: str, name: str, time: int) -> Tensor:
        return cast(Tensor, getattr(self, f"{kind}_{name}")[time])

    def _bias(self, kind: str, name: str, time: int) -> Tensor | None:
        return self._copy(kind, name, time) if f"{kind}_{name}" in self._parameters else None


def _gru(inward: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the next state of a GRU. The candidate is a separate product, so that each weight is used once."""
    size = state.shape[1]
    gates = inward[:, : 2 * size] + functional.linear(
        state, weight[: 2 * size], None if bias is None else bias[: 2 * size]
    )
    reset, update = gates.sigmoid().chunk(2, 1)
    within = functional.linear(state, weight[2 * size :], None if bias is None else bias[2 * size :])
    new = (inward[:, 2 * size :] + reset * within).tanh()
    return (state - new) * update + new


def _mapped(state: Any, function: Any) -> Any:
    """Apply a function to each tensor of a state; return None for None."""
    return tuple(map(function, state)) if isinstance(state, tuple) else None if state is None else function(state)
