"""The article's loop, one seed, generalised only in its sizes: the definition of every number in this project.

It is meant to be read, not to be fast. Whatever computes the same curve faster is measured against it.
"""

import time

import torch

from paramshare.training.draws import Draws, draw
from paramshare.training.result import TrainResult
from paramshare.training.spec import DEPTHS, TrainSpec

__all__ = ["train_reference"]


def train_reference(spec: TrainSpec, draws: Draws | None = None) -> TrainResult:
    """Train `spec` with PyTorch's own autograd and optimizer, at torch's present number of threads.

    Args:
        draws: where the training starts, its net to be trained in place; those of the spec's seed unless given.
    """
    started, clock = time.time(), time.perf_counter()
    draws = draws or draw(spec)
    x, y, net = draws.x.to(spec.device), draws.y.to(spec.device), draws.net.to(spec.device)
    criterion = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(net.parameters(), lr=spec.learning_rate, momentum=spec.momentum)

    losses = []
    for depth in draws.depths:
        loss = criterion(net(x, depth), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    with torch.no_grad():
        depth_losses = tuple(criterion(net(x, depth), y).item() for depth in DEPTHS)

    seconds = time.perf_counter() - clock
    return TrainResult.of(spec, "reference", draws, losses, depth_losses, started, seconds)
