"""From a seed to everything random in a run on digits: the split, the places, the initial net, the batches.

One generator of our own draws them, in this order, on the CPU for every device; the global ones are left as they were
found. The variant is not part of it: the three nets of a seed start as the same function, on the same data in the same
order. So is neither what the training lasts: the batches of a longer one begin with those of a shorter one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from paramshare.training.digits.nets import DigitsNet, twin
from paramshare.training.digits.spec import DIGIT_SIZE, DIGITS, DigitsSpec, Offset

__all__ = ["Draws", "draw", "load_digits", "placed"]


@dataclass(frozen=True, slots=True)
class Draws:
    """What a seed determines.

    Args:
        images: float32 (examples, 1, canvas, canvas), what is trained on: each digit at one seen offset.
        labels: int64 (examples,).
        test_digits: float32 (tests, 1, 8, 8), the digits that are not trained on, on no canvas yet: they are tested at
            every offset.
        test_labels: int64 (tests,).
        net: with its initial weights, on the CPU.
        batches: int64 (steps, batch_size), which examples each step sees.
    """

    images: Tensor
    labels: Tensor
    test_digits: Tensor
    test_labels: Tensor
    net: nn.Module
    batches: Tensor


def draw(spec: DigitsSpec) -> Draws:
    """The data, the initial net and the batches of `spec`'s seed."""
    digits, labels = load_digits()
    generator = torch.Generator().manual_seed(spec.seed)
    order = torch.randperm(DIGITS, generator=generator)
    train, test = order[: spec.examples], order[spec.examples :]
    places = torch.randint(len(spec.seen_offsets), (spec.examples,), generator=generator)
    images = torch.empty(spec.examples, *spec.input_shape)
    for number, offset in enumerate(spec.seen_offsets):
        here = places == number
        images[here] = placed(digits[train[here]], offset, spec.canvas)
    net = _initial(spec, generator)
    epochs = [_epoch(spec, generator) for _ in range(math.ceil(spec.steps / spec.epoch_steps))]
    batches = torch.cat(epochs)[: spec.steps]
    return Draws(images, labels[train], digits[test], labels[test], twin(net, spec), batches)


@lru_cache(maxsize=1)
def load_digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's bundled digits, float32 (1797, 1, 8, 8) from 0 to 1, and what they are, int64 (1797,)."""
    from sklearn import datasets  # type: ignore[import-untyped]  # a second to import, only for those who train

    digits, labels = datasets.load_digits(return_X_y=True)
    pixels = torch.from_numpy(digits).float().view(DIGITS, 1, DIGIT_SIZE, DIGIT_SIZE)
    return pixels / 16, torch.from_numpy(labels).long()


def placed(digits: Tensor, offset: Offset, canvas: int) -> Tensor:
    """Digits (n, 1, 8, 8) with their upper left corner at `offset` of an empty canvas, (n, 1, canvas, canvas)."""
    row, column = offset
    images = digits.new_zeros(len(digits), 1, canvas, canvas)
    images[:, :, row : row + DIGIT_SIZE, column : column + DIGIT_SIZE] = digits
    return images


def _initial(spec: DigitsSpec, generator: torch.Generator) -> DigitsNet:
    """A net with weights as torch's layers have at first: uniform up to 1 / √inputs, each weight before its bias."""
    with torch.device("meta"):  # nothing is drawn there
        net = DigitsNet(spec.channels)
    net.to_empty(device="cpu")
    for layer in (net.first, net.second, net.last):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return net


def _epoch(spec: DigitsSpec, generator: torch.Generator) -> Tensor:
    order = torch.randperm(spec.examples, generator=generator)
    return order[: spec.epoch_steps * spec.batch_size].view(spec.epoch_steps, spec.batch_size)
