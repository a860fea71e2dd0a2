"""The recipe of digits. Importing it loads no torch.

One generator draws the split, the places, the initial weights and then the batches, in this order. The variant is not
part of it: the three nets of a seed start as the same function, on the same data in the same order. Neither is the
number of steps: the batches of a longer training begin with those of a shorter one.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from paramshare.recipes.digits.dataset import CLASSES, DIGIT_SIZE, DIGITS, Offset
from paramshare.recipes.parts import Data, Metric, Options, Step, Variant
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec_values import LARGEST_FLOAT, LARGEST_SIZE

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["DigitsRecipe", "Placement"]

Placement = Literal["moved", "plain"]

_ROOM: Final[dict[Placement, int]] = {"moved": 4, "plain": 0}  # pixels that the canvas has more than a digit
_SEEN: Final = 3  # of the 5 rows and columns of offsets that `moved` has, those that training sees


class DigitsRecipe(Recipe):
    """A small convolutional net, beside its locally connected and dense twins, on digits moved about a canvas.

    A training ends with the first epoch whose mean loss is at most `stop_loss`: every variant is trained until it fits
    its training digits equally well. (At the defaults dense takes some 360 steps, conv 440, local 850: a fixed number
    would stop them at different points of their way.) The mean is of the losses that the epoch's steps had anyway, so
    that it costs nothing. Training on to a tenth of 0.01 took three to four times the steps and moved no accuracy by
    more than about 0.01 (conv on 3 seeds, dense on 1).
    """

    name = "digits"
    title = "Digits"

    class Options(Options):
        """The defaults are the experiment's."""

        placement: Placement = Field("moved", description="moved (about a larger canvas), or plain (as they are)")
        examples: int = Field(1000, ge=1, lt=DIGITS, description="how many are trained on")
        channels: int = Field(
            16, ge=1, le=LARGEST_SIZE, description="channels of the first layer; the second has twice as many"
        )
        batch_size: int = Field(50, ge=1, le=LARGEST_SIZE, description="samples of a step")
        steps: int = Field(5000, ge=1, le=LARGEST_SIZE, description="SGD steps of each run at most")
        stop_loss: float = Field(
            0.01, ge=0, le=sys.float_info.max, description="mean loss of an epoch that ends the training"
        )
        learning_rate: float = Field(0.05, gt=0, le=LARGEST_FLOAT, description="SGD's learning rate")
        momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum")

        @model_validator(mode="after")
        def _has_a_batch(self) -> Self:
            if self.batch_size > self.examples:
                raise ValueError(
                    f"batch_size is {self.batch_size}; expected at most {self.examples}, the number of examples"
                )
            return self

    variants: ClassVar[Mapping[str, Variant]] = {"conv": None, "local": {"space"}, "dense": {"dense"}}
    metrics = (
        Metric(
            "accuracy_unseen",
            "accuracy on digits at places not seen in training",
            better="higher",
            only=("placement", "moved"),
        ),
        Metric("accuracy", "accuracy on digits at places seen in training", better="higher"),
        Metric("loss", "cross entropy at places seen in training"),
        Metric("steps", "steps until the training digits are fitted, or all that were allowed"),
    )
    loss_name = "cross entropy, nats"
    data_name = "digits"
    data_source: ClassVar[Mapping[str, object]] = {
        "digits": "sklearn.datasets.load_digits", "generator": "torch.Generator", "order": ["split", "places"],
    }  # fmt: skip
    graph_options = ("placement", "channels")
    _key_constants: ClassVar[Mapping[str, str]] = {"arithmetic": "direct"}

    def data(self, generator: "torch.Generator") -> Data:  # noqa: ARG002 - one generator draws data, weights and order
        """Return the images and labels to train on, each digit at one of the seen offsets; and those to test on.

        The test digits are on no canvas yet: they are tested at every offset.
        """
        import torch

        from paramshare.recipes.digits.images import load_digits, placed

        self.taken = 0  # steps
        digits, labels = load_digits()
        examples, seen = self.options.examples, self.seen_offsets
        self._generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(DIGITS, generator=self._generator)
        train, test = order[:examples], order[examples:]
        places = torch.randint(len(seen), (examples,), generator=self._generator)
        images = torch.empty(examples, 1, self.canvas, self.canvas)
        for number, offset in enumerate(seen):
            here = places == number
            images[here] = placed(digits[train[here]], offset, self.canvas)
        return Data(train=(images, labels[train]), test=(digits[test], labels[test]))

    def model(self) -> "nn.Module":
        """Return the convolutional net. The generator's state after it is that of the first epoch."""
        from paramshare.recipes.digits.net import initial_net

        net = initial_net(self.options.channels, self._generator)
        self._first_epoch = self._generator.get_state()
        del self._generator  # a checkpoint cannot hold it
        return net

    def loss(self, model: "nn.Module", batch: Any) -> "Tensor":
        """Return the mean cross entropy."""
        from torch.nn.functional import cross_entropy

        self.taken += 1
        images, labels = batch
        return cross_entropy(model(images), labels)

    def fit(self, model: "nn.Module", data: Data, generator: "torch.Generator") -> Iterator[Step]:
        """Train by the default loop, on batches of the generator that has drawn the data and the weights."""
        generator.set_state(self._first_epoch)
        return super().fit(model, data, generator)

    def batches(self, data: Any, generator: "torch.Generator") -> Iterator[Any]:
        """Yield the batches of one epoch: each example once, in a new order, without those that fill no batch."""
        import torch

        images, labels = data
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for batch in order[: self.epoch_steps * self.options.batch_size].view(self.epoch_steps, -1):
            yield images[batch], labels[batch]

    def should_stop(self, losses: Sequence[float], evaluations: Sequence[Mapping[str, float]]) -> bool:  # noqa: ARG002
        """Return whether an epoch has ended whose mean loss is at most `stop_loss`, or not finite."""
        if len(losses) % self.epoch_steps:
            return False
        mean = sum(losses[-self.epoch_steps :]) / self.epoch_steps
        return mean <= self.options.stop_loss or not math.isfinite(mean)

    def evaluate(self, model: "nn.Module", data: Data) -> dict[str, float]:
        """Return the accuracies on the test digits, the cross entropy and the number of steps."""
        from paramshare.recipes.digits.images import score

        accuracy, loss = score(model, data.test, self.seen_offsets, self.canvas)
        metrics = {"accuracy": accuracy}
        if self.unseen_offsets:
            metrics["accuracy_unseen"], _ = score(model, data.test, self.unseen_offsets, self.canvas)
        return {**metrics, "loss": loss, "steps": self.taken}

    def least_memory(self, variant: str) -> int:  # noqa: ARG002 - the convolutional net takes least
        """Return the bytes of the convolutional net's parameters, their gradients and velocities."""
        channels = self.options.channels
        parameters = 10 * channels + 2 * channels * (9 * channels + 1) + CLASSES * (2 * channels + 1)
        return int(4 * (3 if self.options.momentum else 2) * parameters)

    @property
    def canvas(self) -> int:
        """Return the rows, and columns, of an image."""
        return DIGIT_SIZE + _ROOM[self.options.placement]

    @property
    def epoch_steps(self) -> int:
        """Return the steps in an epoch."""
        return int(self.options.examples // self.options.batch_size)

    @property
    def seen_offsets(self) -> tuple[Offset, ...]:
        """Return the offsets of the digits that are trained on: the upper left 3×3; of `plain` the only one."""
        return tuple(offset for offset in self._offsets if max(offset) < _SEEN)

    @property
    def unseen_offsets(self) -> tuple[Offset, ...]:
        """Return the other offsets: up to two pixels beyond what is trained on. `plain` has none."""
        return tuple(offset for offset in self._offsets if max(offset) >= _SEEN)

    @property
    def _offsets(self) -> tuple[Offset, ...]:
        places = range(_ROOM[self.options.placement] + 1)
        return tuple((row, column) for row in places for column in places)
