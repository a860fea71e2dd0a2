"""A recipe with a training loop of its own: sharpness-aware minimization (Foret and others, 2021).

Each step climbs to the worst point near the weights, takes the gradient there, and descends from where it began. `fit`
replaces the default loop: it yields a `ps.Step` for each update. A training of `fit` is not resumed in the middle.

    paramshare check examples/own_loop.py
    paramshare study examples/own_loop.py --seeds 0:10
"""

from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor, nn

import paramshare as ps


class Waves(ps.Recipe):
    """A deep network whose middle layer is applied several times, on noisy waves."""

    class Options(ps.Options):
        """The options of the commands for this recipe."""

        width: int = Field(16, ge=1, description="width of the hidden layers")
        depth: int = Field(3, ge=1, description="applications of the middle layer")
        examples: int = Field(64, ge=1, description="points to train on")
        noise: float = Field(0.3, ge=0, description="standard deviation of the noise")
        steps: int = Field(300, ge=1, description="updates")
        batch_size: int = Field(32, ge=1, description="points of an update")
        learning_rate: float = Field(0.05, gt=0, description="learning rate of SGD")
        radius: float = Field(0.05, ge=0, description="how far each step climbs; 0 is plain SGD")

    variants = {"shared": None, "untied": {"depth"}}
    metrics = (ps.Metric("error", "mean squared error without noise"),)
    loss_name = "mean squared error"

    def data(self, generator: torch.Generator) -> ps.Data:
        """Return noisy points of a wave, and the wave itself for the test."""
        x = 4 * torch.rand(self.options.examples, 1, generator=generator) - 2
        noise = self.options.noise * torch.randn(x.shape, generator=generator)
        grid = torch.linspace(-2, 2, 400)[:, None]
        return ps.Data(train=(x, torch.sin(3 * x) + noise), test=(grid, torch.sin(3 * grid)))

    def model(self) -> nn.Module:
        """Return the network."""
        return Repeated(self.options.width, self.options.depth)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean squared error."""
        x, y = batch
        return (model(x) - y).square().mean()

    def evaluate(self, model: nn.Module, data: ps.Data) -> dict[str, float]:
        """Return the error on the wave without noise."""
        return {"error": float(self.loss(model, data.test))}

    def fit(self, model: nn.Module, data: ps.Data, generator: torch.Generator) -> Iterator[ps.Step]:
        """Yield each update of sharpness-aware minimization."""
        parameters = list(model.parameters())
        optimizer = self.optimizer(model)
        steps = 0
        while True:
            for batch in self.batches(data.train, generator):
                loss = self.loss(model, batch)
                climb = torch.autograd.grad(loss, parameters)
                norm = torch.stack([part.norm() for part in climb]).norm()
                scale = self.options.radius / (norm + 1e-12)
                with torch.no_grad():
                    for parameter, part in zip(parameters, climb, strict=True):
                        parameter.add_(scale * part)
                worst = self.loss(model, batch)
                optimizer.zero_grad()
                worst.backward()
                with torch.no_grad():
                    for parameter, part in zip(parameters, climb, strict=True):
                        parameter.sub_(scale * part)
                optimizer.step()
                yield ps.Step(loss.item(), {"sharpness": (worst - loss).item()})
                steps += 1
                if steps == self.options.steps:
                    return


class Repeated(nn.Module):
    """Linear, `depth` times the same Linear, Linear; tanh between them."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Linear(1, width)
        self.middle = nn.Linear(width, width)
        self.last = nn.Linear(width, 1)
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        """Return the prediction (batch, 1) for x (batch, 1)."""
        hidden = self.first(x).tanh()
        for _ in range(self.depth):
            hidden = self.middle(hidden).tanh()
        result: Tensor = self.last(hidden)
        return result
