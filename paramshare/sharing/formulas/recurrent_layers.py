"""Closed formulas for RNN, GRU and LSTM."""

from typing import Final, Literal

from paramshare.errors import SpecError
from paramshare.sharing.formulas.regimes import Regimes
from paramshare.sharing.formulas.sizes import check_whole

__all__ = ["rnn"]

_GATES: Final = {"rnn": 1, "lstm": 4, "gru": 3}


def rnn(
    mode: Literal["rnn", "lstm", "gru"],
    input_size: int,
    hidden_size: int,
    steps: int,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    proj_size: int = 0,
) -> Regimes:
    """Return the regimes of nn.RNN, LSTM or GRU on (steps, input_size), from an initial state of zeros.

    With G gates (RNN 1, GRU 3, LSTM 4), H = hidden_size and a state of R = proj_size or else H, each layer and
    direction has W_ih of G·H·I, W_hh of G·H·R, two biases of G·H each, and W_hr of R·H with a projection; I is
    input_size in the first layer and R times the number of directions above it. The sites are the T time steps:
    unshared is T·shared (Goodfellow et al., 2016, section 10.1, unfolds the graph) and MACs are T·(all matrices). The
    products of a step already connect all of that step's input, so dense equals unshared. All copies are live except
    those of W_hh at the first step, which meet the zero state.

    A live copy can still have a gradient of zero: the forget gate of an LSTM multiplies the zero cell at the first
    step, and the reset gate of a GRU without biases multiplies zeros. These are H·I (+ 2·H with biases) copies of each
    layer and direction.

    Args:
        mode: `rnn`, `lstm` or `gru`.
        input_size, hidden_size: features of one step, and H.
        steps: T.
        num_layers, bias, bidirectional: as in torch.
        proj_size: size of an LSTM's projection, less than hidden_size; 0 for none.

    Raises:
        SpecError: the mode is unknown, or a size is impossible.
    """
    if mode not in _GATES:
        raise SpecError(f"mode is {mode!r}; expected {', '.join(_GATES)}")
    check_whole(input_size=input_size, hidden_size=hidden_size, steps=steps, num_layers=num_layers)
    check_whole(0, proj_size=proj_size)
    if proj_size and (mode != "lstm" or proj_size >= hidden_size):
        raise SpecError(f"proj_size is {proj_size}; expected 0, or for an lstm less than hidden_size, {hidden_size}")
    directions = 2 if bidirectional else 1
    cells = num_layers * directions
    gates, state = _GATES[mode] * hidden_size, proj_size or hidden_size
    recurrent = cells * gates * state
    inward = directions * gates * (input_size + (num_layers - 1) * directions * state)
    matrices = inward + recurrent + cells * proj_size * hidden_size
    shared = matrices + (2 * cells * gates if bias else 0)
    unshared, macs = steps * shared, steps * matrices
    return Regimes(shared, unshared, unshared - recurrent, unshared, macs, macs)
