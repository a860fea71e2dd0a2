"""Chunks: the part of a sweep that one worker trains and writes.

A chunk carries all that a worker needs, so that it can be run in this process, in a pool of this machine, or
wherever a flow sends it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal

from paramshare.tracking.store import StoreAddress
from paramshare.tracking.write.spool import SPOOL
from paramshare.training.choice import Engine, choose_engine
from paramshare.training.devices import cpu_cores
from paramshare.training.targets import LOSS, Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from paramshare.tracking.read.run_view import RunView
    from paramshare.training.result import Result

__all__ = ["TOGETHER", "Chunk", "Row", "make_chunks", "slots"]

TOGETHER: Final = 64
"""How many seeds a chunk has that are trained together, as on CUDA."""

_AT_A_GPU: Final = 4  # processes: to write a run takes far longer than its share of training


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a sweep's outcome.

    Args:
        spec: what was asked for.
        run_id: MLflow's id of the run; empty where the store does not have it yet.
        status: the run's, in MLflow's words; KEPT where it was trained and lies in the spool.
        final_loss: the last step's loss; None where there is none.
        finals: what the trained net comes to, by metric, its target's headline first; empty where there is none.
        seconds: how long the training took.
        reused: whether the run was in the store before this sweep.
        error: what went wrong, in a line; empty where nothing did.
        diverged: whether one of its losses is not finite.
        losses: (steps,), the loss of every step, where the run was trained in this sweep.
    """

    spec: Spec
    run_id: str
    status: Literal["FINISHED", "FAILED", "KEPT"]
    final_loss: float | None
    finals: Mapping[str, float]
    seconds: float
    reused: bool = False
    error: str = ""
    diverged: bool = False
    losses: "NDArray[np.float32] | None" = field(default=None, repr=False, compare=False)

    @classmethod
    def finished(cls, spec: Spec, run: "RunView", losses: "NDArray[np.float32] | None" = None) -> "Row":
        """The row of a FINISHED run, re-used unless its losses are given."""
        return cls(
            spec,
            run.run_id,
            "FINISHED",
            run.final_loss,
            run.finals,
            run.seconds,
            reused=losses is None,
            diverged=run.diverged,
            losses=losses,
        )

    @classmethod
    def kept(cls, spec: Spec, result: "Result", reason: str) -> "Row":
        """The row of a result that lies in the spool, and why."""
        return cls(
            spec,
            "",
            "KEPT",
            result.final_loss,
            dict(result.finals),
            result.seconds,
            error=f"{reason}; the result is kept in {SPOOL}",
            diverged=result.diverged_at is not None,
            losses=result.curves[LOSS],
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Specs of one device, trained by one worker.

    Args:
        specs: all on the same device.
        engine: what trains them.
        address: the store that their runs go to.
        tags: what each of their runs carries: its parent, where it came from.
        force: whether a run is written though the store may hold a FINISHED one of its spec.
    """

    specs: tuple[Spec, ...]
    engine: Engine
    address: StoreAddress
    tags: dict[str, str]
    force: bool = False

    @property
    def device(self) -> str:
        """The device of all its specs."""
        return self.specs[0].device


def slots(device: str, workers: int | None, address: StoreAddress) -> int:
    """How many chunks can run on `device` at once: `workers`, or one a core; on CUDA at most four of them, on MPS one.

    Where a server keeps the runs there are half as many again: for much of its time a process waits for it.
    """
    if device == "mps":
        return 1
    cores = cpu_cores()
    processes = workers or (cores if address.database else cores + (cores + 1) // 2)
    return processes if device == "cpu" else min(processes, _AT_A_GPU)


def make_chunks(
    specs: Sequence[Spec],
    size: int,
    engine: Engine,
    address: StoreAddress,
    tags: dict[str, str],
    *,
    force: bool = False,
) -> list[Chunk]:
    """`specs` cut into chunks, none of more than one device, those of a device together.

    Args:
        size: the most specs of a chunk; where they are trained together, it has `TOGETHER` if there are so many.
        engine, address, tags, force: as of `Chunk`.
    """
    by_device = sorted(specs, key=lambda spec: spec.device)  # stable: the order within a device stays
    chunks = []
    for _, of_device in groupby(by_device, key=lambda spec: spec.device):
        group = list(of_device)
        most = max(size, TOGETHER) if choose_engine(group[0], engine).together else size
        chunks += [
            Chunk(tuple(group[begin : begin + most]), engine, address, tags, force)
            for begin in range(0, len(group), most)
        ]
    return chunks
