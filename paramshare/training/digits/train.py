"""The loop that trains one net on digits until it fits them: the definition of every number of this experiment.

It is the only engine, one seed after the other. Stacked by `torch.func.vmap`, 8 to 32 seeds take 0.6 to 0.9 times the
CPU time a step for the convolutional net and 0.85 to 1 times for its twins, which take most of the time; but seeds end
at different steps, and waiting for the last takes that back. They would have other bits, too.
"""

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from paramshare.training.digits.data import Draws, draw, placed
from paramshare.training.digits.result import DigitsResult, Score
from paramshare.training.digits.spec import DigitsSpec, Offset

__all__ = ["has_ended", "train_digits"]


def train_digits(spec: DigitsSpec, draws: Draws | None = None) -> DigitsResult:
    """Train `spec` with PyTorch's own autograd and optimizer, at torch's present number of threads.

    Args:
        draws: where the training starts, its net to be trained in place; those of the spec's seed unless given.
    """
    started, clock = time.time(), time.perf_counter()
    draws = draws or draw(spec)
    images, labels, net = draws.images.to(spec.device), draws.labels.to(spec.device), draws.net.to(spec.device)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=spec.learning_rate, momentum=spec.momentum)

    losses: list[float] = []
    for batch in draws.batches.to(spec.device):
        loss = criterion(net(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if has_ended(losses, spec):
            break

    seen = _score(net, draws, spec.seen_offsets, spec)
    return DigitsResult(
        spec=spec,
        engine="reference",
        threads=torch.get_num_threads(),
        losses=np.array(losses, dtype=np.float32),
        converged=_last_epoch(losses, spec) <= spec.stop_loss,
        seen=seen,
        unseen=_score(net, draws, spec.unseen_offsets, spec) if spec.unseen_offsets else None,
        net=net.cpu(),
        images=draws.images,
        labels=draws.labels,
        started=started,
        seconds=time.perf_counter() - clock,
    )


def has_ended(losses: Sequence[float], spec: DigitsSpec) -> bool:
    """Return whether a training with these losses so far has ended, asked after every step.

    It has with the first whole epoch whose mean loss is at most `stop_loss`, or is not finite: it will not be again.
    """
    if len(losses) % spec.epoch_steps:
        return False
    mean = _last_epoch(losses, spec)
    return mean <= spec.stop_loss or not math.isfinite(mean)


def _last_epoch(losses: Sequence[float], spec: DigitsSpec) -> float:
    """The mean loss of the last whole epoch; infinite where there is none."""
    end = len(losses) - len(losses) % spec.epoch_steps
    epoch = losses[max(0, end - spec.epoch_steps) : end]
    return sum(epoch) / len(epoch) if epoch else math.inf


def _score(net: nn.Module, draws: Draws, offsets: Sequence[Offset], spec: DigitsSpec) -> Score:
    """The net on every test digit at every one of some offsets."""
    digits, labels = draws.test_digits.to(spec.device), draws.test_labels.to(spec.device)
    right, loss = 0, 0.0
    with torch.no_grad():
        for offset in offsets:
            scores = net(placed(digits, offset, spec.canvas))
            right += int((scores.argmax(dim=1) == labels).sum())
            loss += float(cross_entropy(scores, labels, reduction="sum"))
    tested = len(offsets) * len(labels)
    return Score(right / tested, loss / tested)
