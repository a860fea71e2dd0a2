"""Chunks and rows: the parts of a sweep, and the result of each run. Plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from paramshare.recipes.metrics import LOSS
from paramshare.recipes.spec import Spec
from paramshare.tracking.store import StoreAddress
from paramshare.tracking.write.spool import SPOOL
from paramshare.training.choice import Choice
from paramshare.training.environment.devices import cpu_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from paramshare.tracking.read.run_view import RunView
    from paramshare.training.result import Result

__all__ = ["BATCHED_SEEDS", "Chunk", "Row", "make_chunks", "max_workers"]

BATCHED_SEEDS: Final = 64
"""Maximum number of specs of a chunk whose engine trains many seeds at once, as on CUDA."""

_MAX_GPU_WORKERS: Final = 4  # writing a run takes far longer than its share of a batched training


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one run of a sweep.

    Args:
        spec: the spec of the run.
        run_id: the id of the run in MLflow; empty if the store does not have the run yet.
        status: the status of the run in MLflow; KEPT if the result was trained and is in the spool.
        final_loss: the loss of the last step; None if the training failed.
        final_metrics: the final metrics of the trained model by name, the headline of the target first; empty if the
            training failed.
        seconds: the duration of the training.
        reused: whether the run was in the store before this sweep.
        error: the reason of a failure, in one line; empty if there was none.
        diverged: whether a loss of the run is not finite.
        losses: (steps,), the loss of every step; None if the run was not trained in this sweep.
    """

    spec: Spec
    run_id: str
    status: Literal["FINISHED", "FAILED", "KEPT"]
    final_loss: float | None
    final_metrics: Mapping[str, float]
    seconds: float
    reused: bool = False
    error: str = ""
    diverged: bool = False
    losses: "NDArray[np.float32] | None" = field(default=None, repr=False, compare=False)

    @classmethod
    def finished(cls, spec: Spec, run: "RunView", losses: "NDArray[np.float32] | None" = None) -> "Row":
        """Return the row of a FINISHED run. The run counts as reused unless its losses are given."""
        return cls(
            spec,
            run.run_id,
            "FINISHED",
            run.final_loss,
            run.final_metrics,
            run.seconds,
            reused=losses is None,
            diverged=run.diverged,
            losses=losses,
        )

    @classmethod
    def kept(cls, spec: Spec, result: "Result", reason: str) -> "Row":
        """Return the row of a result that is in the spool.

        Args:
            reason: why the store does not have the result.
        """
        return cls(
            spec,
            "",
            "KEPT",
            result.final_loss,
            dict(result.final_metrics),
            result.seconds,
            error=f"{reason}; the result is kept in {SPOOL}",
            diverged=result.diverged_at is not None,
            losses=result.curves[LOSS],
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Specs of one device, which one worker trains one after the other, or all at once.

    A chunk holds everything that a worker needs, so that any process on any machine can run it.

    Args:
        choices: the specs, all of the same device, each with its engine.
        address: the store that the runs are written to.
        parent_run_id: the id of the sweep's run in MLflow; None if the runs have no parent.
        tags: the tags of each run, without the tag of the parent.
        force: whether a run is written although the store has a FINISHED run of its spec.
        checkpoint_every: seconds between two checkpoints of a recipe's training; 0 for none.
        checkpoint_folder: the folder of checkpoints. Defaults to None: `checkpoints` beside the store.
        gpus: the number of GPUs of the machine that share the chunks of this device: more than 1 only for `cuda:0`.
    """

    choices: tuple[Choice, ...]
    address: StoreAddress
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    checkpoint_every: float = 0
    checkpoint_folder: str | None = None
    gpus: int = 1

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The specs of the chunk, in order."""
        return tuple(choice.spec for choice in self.choices)

    @property
    def device(self) -> str:
        """The device of all specs."""
        return self.choices[0].spec.device


def max_workers(device: str, workers: int | None, address: StoreAddress, gpus: int = 1) -> int:
    """Return the maximum number of chunks that run on a device at the same time.

    Args:
        workers: the number that the user asked for. Defaults to one per core, 1.5 per core with a server, since a
            process spends much of its time waiting for the server. A CUDA device gets at most four, MPS one.
        address: the store that the runs are written to.
        gpus: the number of GPUs that share the chunks of `cuda:0`; each has as many processes.
    """
    if device == "mps":
        return 1
    cores = cpu_cores()
    processes = workers or (cores if address.database else cores + (cores + 1) // 2)
    return processes if device == "cpu" else min(processes, _MAX_GPU_WORKERS) * gpus


def make_chunks(
    choices: Sequence[Choice],
    size: int,
    address: StoreAddress,
    parent_run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    force: bool = False,
    checkpoint_every: float = 0,
    checkpoint_folder: str | None = None,
    gpus: int = 1,
) -> list[Chunk]:
    """Return the specs in chunks of one device each. The chunks of a device follow one another.

    Args:
        choices: the specs, each with its engine.
        size: maximum number of specs of a chunk; at least `BATCHED_SEEDS` if its engine trains many seeds at once.
        address, parent_run_id, tags, force, checkpoint_every, checkpoint_folder: see `Chunk`.
        gpus: the number of GPUs of the machine that share the chunks of `cuda:0`.
    """
    by_device = sorted(choices, key=lambda choice: choice.spec.device)  # stable: keeps the order within a device
    chunks = []
    for _, of_device in groupby(by_device, key=lambda choice: choice.spec.device):
        queue = list(of_device)
        shared_by = gpus if queue[0].spec.device.startswith("cuda") else 1
        limit = max(size, BATCHED_SEEDS) if queue[0].together else size
        chunks += [
            Chunk(
                tuple(queue[begin : begin + limit]),
                address,
                parent_run_id,
                tags or {},
                force,
                checkpoint_every,
                checkpoint_folder and str(Path(checkpoint_folder).absolute()),
                shared_by,
            )
            for begin in range(0, len(queue), limit)
        ]
    return chunks
