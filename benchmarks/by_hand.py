"""Train seeds with a script written by hand from the quickstarts of PyTorch, MLflow and Prefect, without paramshare.

    python benchmarks/by_hand.py 3 sqlite:///mlflow.db

The script trains the article's net for the seeds 0, 1, 2. Each seed is a Prefect task with an MLflow run that contains
the parameters, the loss and the depth of every step, the loss curve, and the model as `log_model` saves it by default:
as a graph, which needs an input example. The seeds run one after another, since a process has only one global generator
of `random` and of torch. The last line on stdout is JSON: the seconds of each seed.

Not covered: the additional data that paramshare writes (a parent run with the curves of all seeds, the loss at each
depth, the data as an input, provenance, a model that accepts any depth; this script's graph keeps the depth that the
export drew).
"""

import json
import random
import sys
import time

import matplotlib
import matplotlib.pyplot as plt
import mlflow
import torch
from prefect import flow, task

matplotlib.use("agg")


class DynamicNet(torch.nn.Module):
    def __init__(self, d_in, h, d_out):
        super().__init__()
        self.input_linear = torch.nn.Linear(d_in, h)
        self.middle_linear = torch.nn.Linear(h, h)
        self.output_linear = torch.nn.Linear(h, d_out)
        self.depth = 0

    def forward(self, x):
        self.depth = random.randint(0, 3)
        hidden = self.input_linear(x).clamp(min=0)
        for _ in range(self.depth):
            hidden = self.middle_linear(hidden).clamp(min=0)
        return self.output_linear(hidden)


@task
def train(seed, steps=500, n=64, d_in=1000, h=100, d_out=10, lr=1e-4, momentum=0.9):
    start = time.perf_counter()
    random.seed(seed)
    torch.manual_seed(seed)
    x = torch.randn(n, d_in)
    y = torch.randn(n, d_out)
    model = DynamicNet(d_in, h, d_out)
    criterion = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)

    with mlflow.start_run(run_name=f"seed {seed}"):
        mlflow.log_params(
            {"seed": seed, "steps": steps, "batch_size": n, "d_in": d_in, "h": h, "d_out": d_out}
            | {"learning_rate": lr, "momentum": momentum}
        )
        losses = []
        for step in range(steps):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            mlflow.log_metric("loss", losses[-1], step=step)
            mlflow.log_metric("depth", model.depth, step=step)

        fig, ax = plt.subplots()
        ax.plot(losses)
        ax.set(xlabel="step", ylabel="loss", yscale="log", title=f"seed {seed}")
        mlflow.log_figure(fig, "loss.png")
        plt.close(fig)
        mlflow.pytorch.log_model(model, name="model", input_example=x.numpy())
    return time.perf_counter() - start


@flow
def sweep(seeds: int):
    return [train(seed) for seed in range(seeds)]


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[2])
    mlflow.set_experiment("by hand")
    seconds = sweep(int(sys.argv[1]))
    print(json.dumps({"seconds": seconds}))
