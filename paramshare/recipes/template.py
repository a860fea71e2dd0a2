"""Does a shared kernel help at angles that were never trained on?

A recipe: a model, its data, its loss and its metrics, with options and variants. Change it into yours.

    paramshare check my_recipe.py:Spirals                 # builds and counts every variant, says what is wrong
    paramshare train my_recipe.py:Spirals --seeds 0:10 --width 16
    paramshare study my_recipe.py:Spirals --seeds 0:10    # trains every variant and compares them
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import paramshare as ps

ANGLES, RADII = 16, 6


class SpiralNet(nn.Module):
    """A convolution along the angles, whose kernel all angles share."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.arms = nn.Conv1d(RADII, width, kernel_size=3, padding=1, padding_mode="circular")
        self.turn = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the two scores of each spiral; x is (batch, radii, angles)."""
        scores: Tensor = self.turn(self.arms(x).relu().mean(-1))
        return scores


class Spirals(ps.Recipe):
    """Does a shared kernel help at angles that were never trained on?"""

    version = 1  # raise it if the same options give other numbers than before

    class Options(ps.Options):
        """Each field is an option: --width on the command line, a parameter in MLflow, a part of the run's key."""

        width: int = Field(8, ge=1, description="channels of the convolution")
        noise: float = Field(0.5, ge=0, description="standard deviation of the noise")
        examples: int = Field(256, ge=1, description="spirals to train on")
        steps: int = 300  # the default loop reads this one and the next two; see ps.Options
        batch_size: int = 32
        learning_rate: float = 0.3

    # The model as built, and its twins with a kernel for each angle and with every angle wired to every angle.
    # All variants begin as the same function. A variant can also be a dict of options or a function of the module.
    variants = {"conv": None, "local": {"space"}, "dense": {"dense"}}

    # The numbers that `evaluate` returns. Variants are compared by the first one.
    metrics = (
        ps.Metric("accuracy", "accuracy at angles never trained on", better="higher"),
        ps.Metric("accuracy_seen", "accuracy at angles trained on", better="higher"),
    )
    loss_name = "cross entropy, nats"

    def data(self, generator: torch.Generator) -> ps.Data:
        """Return the data of a seed. Draw everything from the generator."""
        train = self.spirals(generator, self.options.examples, first=0)
        seen = self.spirals(generator, 512, first=0)
        unseen = self.spirals(generator, 512, first=ANGLES // 2)
        return ps.Data(train=train, test={"seen": seen, "unseen": unseen})

    def model(self) -> nn.Module:
        """Return the model as built; the variants are made from it."""
        return SpiralNet(self.options.width)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch: a tensor with one element."""
        x, turn = batch
        return cross_entropy(model(x), turn)

    def evaluate(self, model: nn.Module, data: ps.Data) -> dict[str, float]:
        """Return every metric. The model is in evaluation mode, without gradients."""
        return {
            "accuracy": accuracy(model, *data.test["unseen"]),
            "accuracy_seen": accuracy(model, *data.test["seen"]),
        }

    def spirals(self, generator: torch.Generator, count: int, first: int) -> tuple[Tensor, Tensor]:
        """Return spirals that begin at one of half of the angles, from `first` on, and whether each turns left."""
        begin = torch.randint(first, first + ANGLES // 2, (count, 1), generator=generator)
        left = torch.randint(2, (count,), generator=generator)
        way = (torch.arange(ANGLES) - begin) % ANGLES / ANGLES  # from the begin of the arm to its end
        radius = RADII * torch.where(left[:, None] == 1, way, 1 - way)
        arms = torch.exp(-((torch.arange(RADII)[None, :, None] + 0.5 - radius[:, None, :]) ** 2))
        return arms + self.options.noise * torch.randn(arms.shape, generator=generator), left


def accuracy(model: nn.Module, x: Tensor, turn: Tensor) -> float:
    """Return the share of spirals whose turn the model finds."""
    return float((model(x).argmax(1) == turn).float().mean())
