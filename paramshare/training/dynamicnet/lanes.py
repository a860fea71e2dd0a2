"""The mathematics of `gram.py` for many nets at once, with one program for every depth, to keep a GPU busy.

A lane is one net. A block is a fixed number of lanes that take each step together, each lane with the depth that it
drew. All applications of the middle layer are computed; each lane selects its result by its depth, and does not update
the layers that its step did not use. So a step is one fixed sequence of kernels: on CUDA it is captured as a graph once
and replayed; on the CPU, where the tests run it, it is called.

If a block has fewer nets than lanes, copies of the last net fill the other lanes. So every kernel always has the same
shapes, and the bits of a net depend neither on its neighbours nor on the number of blocks. Blocks run concurrently,
each on a stream of its own, as many as fit into memory.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from paramshare.recipes.dynamicnet.recipe import options_of
from paramshare.recipes.dynamicnet.variants import DEPTHS
from paramshare.recipes.spec import Spec
from paramshare.training.dynamicnet.draws import Draws, draw, result_of
from paramshare.training.result import Result

__all__ = ["LANES", "train_lanes"]

LANES: Final = 64
_MOST_BLOCKS: Final = 16  # more do not make a GPU any busier
_SHARE_OF_MEMORY: Final = 0.8  # of what is free; the rest is for what copying in and out needs

_through_clamp = torch.ops.aten.threshold_backward


def train_lanes(specs: Sequence[Spec], most_blocks: int = _MOST_BLOCKS) -> Iterator[Result]:
    """Train specs on their device and yield their results in order, a number of blocks at a time.

    Args:
        specs: specs with the arithmetic gram.
        most_blocks: maximum number of concurrent blocks. If the memory has room for fewer, fewer run: the same bits.

    Raises:
        torch.OutOfMemoryError: there is no room for a single block.
    """
    for family, members in groupby(specs, key=lambda spec: replace(spec, seed=0)):
        seeds = list(members)
        groups = deque(seeds[begin : begin + LANES] for begin in range(0, len(seeds), LANES))
        blocks: list[_Block] = []
        at_once = min(most_blocks, len(groups), _room(family))
        while groups:
            taken = list(groups)[:at_once]
            try:
                blocks += [_Block(family) for _ in range(len(taken) - len(blocks))]
                results = _train_together(blocks[: len(taken)], taken)
            except torch.OutOfMemoryError:
                if at_once == 1:
                    raise
                at_once //= 2
                del blocks[at_once:]
                torch.cuda.empty_cache()
                continue
            for _ in taken:
                groups.popleft()
            yield from results


def _train_together(blocks: "Sequence[_Block]", groups: Sequence[Sequence[Spec]]) -> list[Result]:
    """Train one group of specs on each block, all blocks concurrently."""
    started, clock = time.time(), time.perf_counter()
    drawn = [[draw(spec) for spec in group] for group in groups]
    with torch.inference_mode():
        for block, draws in zip(blocks, drawn, strict=True):
            block.load(draws)
        _wait_for(blocks[0].device)
        for _ in range(groups[0][0].steps):
            for block in blocks:
                block.step()
        _wait_for(blocks[0].device)
        outcomes = [block.unload(draws) for block, draws in zip(blocks, drawn, strict=True)]
    seconds = (time.perf_counter() - clock) / sum(map(len, groups))
    return [
        result_of(
            spec, "gram", draws[lane], losses[:, lane], tuple(map(float, depth_losses[:, lane])), started, seconds
        )
        for group, draws, (losses, depth_losses) in zip(groups, drawn, outcomes, strict=True)
        for lane, spec in enumerate(group)
    ]


class _Block:
    """The state of `LANES` nets on their device. Names and shapes are those of `gram.py`, with the lanes in front.

    Args:
        family: the spec that all its nets have in common, but for the seed.
    """

    def __init__(self, family: Spec) -> None:
        self.device, options = torch.device(family.device), options_of(family)
        self._rate, self._momentum = options.learning_rate, options.momentum
        batch, hidden, outputs = options.batch_size, options.hidden_size, options.output_size
        middles = 1 if family.variant == "shared" else max(DEPTHS)

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        with torch.inference_mode():
            self._x, self._y = zeros(LANES, batch, options.input_size), zeros(LANES, batch, outputs)
            self._first = zeros(LANES, hidden, options.input_size + 1)  # its bias is the last column
            self._start, self._gram = zeros(LANES, batch, hidden), zeros(LANES, batch, batch)
            self._c = zeros(LANES, batch, hidden)
            self._last, self._middle = zeros(LANES, outputs, hidden + 1), zeros(middles, LANES, hidden, hidden + 1)
            self._velocities = [torch.zeros_like(moving) for moving in (self._c, self._last, self._middle)]
            self._depths = zeros(family.steps, LANES, dtype=torch.int64)
            self._losses = zeros(family.steps, LANES)
            self._at = zeros(1, dtype=torch.int64)  # the step
            self._zero = zeros()  # a number would be copied to the device at every step, which no graph can hold
            self._always = torch.ones((), dtype=torch.bool, device=self.device)
            self._lanes = torch.arange(LANES, device=self.device)
            self._applications = torch.arange(max(DEPTHS), device=self.device).unsqueeze(1)
            self.step = _captured(self._take, self._at.zero_, self.device)

    def load(self, draws: Sequence[Draws]) -> None:
        """Copy nets, their data and their depths into the lanes, and set the step to 0."""
        filled = [*draws, *[draws[-1]] * (LANES - len(draws))]
        nets = [one.net for one in filled]
        self._x.copy_(torch.stack([one.x for one in filled]))
        self._y.copy_(torch.stack([one.y for one in filled]))
        self._depths.copy_(torch.tensor([one.depths for one in filled]).t())
        self._first.copy_(torch.stack([_both(net.input_linear) for net in nets]))
        self._last.copy_(torch.stack([_both(net.output_linear) for net in nets]))
        for application, middle in enumerate(self._middle):
            middle.copy_(torch.stack([_both(net.middle_linears[application]) for net in nets]))
        self._start.copy_(torch.bmm(_with_ones(self._x), self._first.mT))
        self._gram.copy_(torch.bmm(self._x, self._x.mT)).add_(1)
        for moving in (self._c, self._at, *self._velocities):
            moving.zero_()

    def unload(self, draws: Sequence[Draws]) -> tuple[np.ndarray, np.ndarray]:
        """Copy the current parameters into the nets.

        Returns:
            The losses of every step (steps, LANES), and those of the trained nets at each depth (4, LANES).
        """
        self._first.add_(torch.bmm(self._c.mT, _with_ones(self._x)))
        hidden = self._activations(torch.bmm(_with_ones(self._x), self._first.mT))
        depth_losses = torch.cat([_squared(self._errors(_with_ones(top))) for top in hidden])
        first, last, middle = (both.cpu() for both in (self._first, self._last, self._middle))
        for lane, one in enumerate(draws):
            linears = [one.net.input_linear, one.net.output_linear, *one.net.middle_linears]
            for linear, both in zip(linears, [first[lane], last[lane], *middle[:, lane]], strict=True):
                linear.weight.copy_(both[:, :-1])
                linear.bias.copy_(both[:, -1])
        return self._losses.cpu().numpy(), depth_losses.cpu().numpy()

    def _take(self) -> None:
        """Take one step in every lane."""
        depth = self._depths.index_select(0, self._at).squeeze(0)
        used = (depth > self._applications)[:, :, None, None]  # by application and lane
        hidden = self._activations(torch.baddbmm(self._start, self._gram, self._c))
        given = [_with_ones(activations) for activations in hidden]
        top = torch.stack(given)[depth, self._lanes]
        errors = self._errors(top)
        self._losses.index_copy_(0, self._at, _squared(errors))

        errors = errors * (2 * self._rate)
        last_gradient = torch.bmm(errors.mT, top)
        signal = torch.bmm(errors, self._last[..., :-1])
        middle_gradient = torch.zeros_like(self._middle)
        for application in reversed(range(max(DEPTHS))):
            middle = application % len(self._middle)
            through = _through_clamp(signal, hidden[application + 1], 0)
            gradient = torch.bmm(through.mT, given[application])
            middle_gradient[middle] += torch.where(used[application], gradient, self._zero)
            passed = torch.bmm(through, self._middle[middle][..., :-1])
            signal = torch.where(used[application], passed, signal)
        c_gradient = _through_clamp(signal, hidden[0], 0)

        for moving, velocity, gradient, moves in zip(
            (self._c, self._last, self._middle),
            self._velocities,
            (c_gradient, last_gradient, middle_gradient),
            (self._always, self._always, used[: len(self._middle)]),
            strict=True,
        ):
            velocity.copy_(torch.where(moves, torch.add(gradient, velocity, alpha=self._momentum), velocity))
            moving.sub_(torch.where(moves, velocity, self._zero))
        self._at.add_(1)

    def _activations(self, first: Tensor) -> list[Tensor]:
        """Return the hidden activations after each number of applications, from the input of the first clamp."""
        hidden = [first.clamp_min(0)]
        for application in range(max(DEPTHS)):
            middle = self._middle[application % len(self._middle)]
            hidden.append(torch.bmm(_with_ones(hidden[-1]), middle.mT).clamp_min(0))
        return hidden

    def _errors(self, top: Tensor) -> Tensor:
        return torch.bmm(top, self._last.mT) - self._y


def _captured(step: Callable[[], object], rewind: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Return a function that does the same as `step`. On CUDA it replays a graph of the kernels on a stream of its own.

    Args:
        rewind: resets the counter of steps, because steps are taken here so that cuBLAS allocates its workspaces.
    """
    if device.type != "cuda":
        return step
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
            rewind()
    _wait_for(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()

    def replay() -> None:
        with torch.cuda.stream(stream):
            graph.replay()

    return replay


def _room(family: Spec) -> int:
    """Return the number of blocks that fit into the free memory, at least 1."""
    if not family.device.startswith("cuda"):
        return _MOST_BLOCKS
    options = options_of(family)
    batch, hidden = options.batch_size, options.hidden_size
    data = batch * options.input_size + 3 * hidden * options.input_size + batch * batch
    activations = 24 * batch * (hidden + 1)
    weights = 8 * (max(DEPTHS) * hidden + options.output_size) * (hidden + 1)
    needed = 4 * LANES * (data + activations + weights + 2 * family.steps)
    free, _ = torch.cuda.mem_get_info(family.device)
    return max(1, int(free * _SHARE_OF_MEMORY) // needed)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _both(linear: nn.Module) -> Tensor:
    """Return a Linear's weight with its bias as the last column, (outputs, inputs + 1)."""
    assert isinstance(linear, nn.Linear)
    return torch.column_stack((linear.weight, linear.bias))


def _with_ones(activations: Tensor) -> Tensor:
    """Append a column of ones, so that one product with a weight from `_both` adds the bias."""
    return pad(activations, (0, 1), value=1.0)


def _squared(errors: Tensor) -> Tensor:
    """Return the sum of squares of each lane, (1, LANES)."""
    flat = errors.flatten(1)
    return torch.bmm(flat.unsqueeze(1), flat.unsqueeze(2)).view(1, -1)
