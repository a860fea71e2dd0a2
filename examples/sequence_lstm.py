"""Does an LSTM need to use the same weights at every time step?

An LSTM reads two marked numbers in a sequence of noise and learns their sum (the adding problem of Hochreiter and
Schmidhuber, 1997). Its twin has weights of its own for each time step.

    paramshare check examples/sequence_lstm.py
    paramshare study examples/sequence_lstm.py --seeds 0:10
"""

import torch
from pydantic import Field
from torch import Tensor, nn

import paramshare as ps


class Adder(nn.Module):
    """An LSTM whose last hidden state gives the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, width, batch_first=True)
        self.sum = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums (batch,) of sequences (batch, length, 2)."""
        hidden, _ = self.lstm(x)
        total: Tensor = self.sum(hidden[:, -1]).squeeze(-1)
        return total


class SequenceLstm(ps.Recipe):
    """The adding problem, with weights shared over time or not."""

    name = "sequence-lstm"

    class Options(ps.Options):
        """The options of the commands for this recipe."""

        length: int = Field(12, ge=2, description="numbers of a sequence")
        width: int = Field(16, ge=1, description="width of the hidden state")
        examples: int = Field(1000, ge=1, description="sequences to train on")
        steps: int = Field(600, ge=1, description="steps of Adam")
        batch_size: int = Field(50, ge=1, description="sequences of a step")
        learning_rate: float = Field(0.01, gt=0, description="learning rate of Adam")
        clip_norm: float | None = Field(1.0, gt=0, description="maximum norm of the gradient")

    variants = {"shared": None, "untied": {"space"}}  # along the positions of a sequence: its time steps
    metrics = (ps.Metric("error", "mean absolute error of the sum"),)
    loss_name = "mean squared error"

    def data(self, generator: torch.Generator) -> ps.Data:
        """Return sequences for training and for the test."""
        return ps.Data(train=self.sequences(self.options.examples, generator), test=self.sequences(1000, generator))

    def sequences(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return sequences (count, length, 2) of numbers and marks, and the sums (count,) of the marked numbers."""
        length = self.options.length
        numbers = torch.rand(count, length, generator=generator)
        places = torch.rand(count, length, generator=generator).argsort(1)[:, :2]
        marks = torch.zeros(count, length).scatter_(1, places, 1.0)
        return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(1)

    def model(self) -> nn.Module:
        """Return the LSTM."""
        return Adder(self.options.width)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(model.parameters(), lr=self.options.learning_rate)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean squared error."""
        x, total = batch
        return (model(x) - total).square().mean()

    def evaluate(self, model: nn.Module, data: ps.Data) -> dict[str, float]:
        """Return the mean absolute error on the test sequences."""
        x, total = data.test
        return {"error": float((model(x) - total).abs().mean())}
