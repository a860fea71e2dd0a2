"""A small recipe as text, and how to load it."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

from paramshare.recipes.loading.find import find_target
from paramshare.recipes.target import Target

RECIPE = dedent("""
    import torch
    from torch import nn

    import paramshare as ps

    from noise import targets


    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.net = nn.Conv1d(1, width, 3, padding=1)
            self.out = nn.Linear(width, 1)

        def forward(self, x):
            return self.out(self.net(x[:, None]).relu().mean(-1))


    class Toy(ps.Recipe):
        class Options(ps.Options):
            width: int = 3
            steps: int = 6
            batch_size: int = 4
            learning_rate: float = 0.1

        variants = {"conv": None, "local": {"space"}, "wide": {"width": 5}, "twice": lambda model: model}
        metrics = (ps.Metric("error", "mean absolute error"),)

        def data(self, generator):
            x = torch.randn(20, 8, generator=generator)
            return ps.Data(train=(x, targets(x)), test=(x[:5], targets(x[:5])))

        def model(self):
            return Net(self.options.width)

        def loss(self, model, batch):
            x, y = batch
            return (model(x) - y).square().mean()

        def evaluate(self, model, data):
            x, y = data.test
            return {"error": (model(x) - y).abs().mean()}
""")
NEIGHBOUR = "def targets(x):\n    return x.sum(1, keepdim=True).sign()\n"

Changed = Callable[..., Target]


def load(file: Path) -> Target:
    """Return the target of the recipe `Toy` in a file."""
    target = find_target(f"{file}:Toy")
    assert isinstance(target, Target)
    return target
