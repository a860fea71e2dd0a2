"""The result of a sweep. Plain data."""

import math
from dataclasses import dataclass
from typing import Any

from paramshare.sweep.chunks import Row

__all__ = ["SweepResult"]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of a sweep.

    Args:
        experiment_id, parent_run_id: the ids in MLflow.
        rows: one for every spec, in the order of the specs.
        curves: the address of the figure of the aggregate curves; empty if results are kept in the spool.
        name: the name of the sweep.
        note: the note of the parent run, in Markdown; its links are relative to MLflow's pages.
    """

    experiment_id: str
    parent_run_id: str
    rows: tuple[Row, ...]
    curves: str
    name: str
    note: str

    @property
    def failed(self) -> int:
        """The number of runs that failed."""
        return sum(row.status == "FAILED" for row in self.rows)

    @property
    def kept(self) -> int:
        """The number of results in the spool, which the server could not accept."""
        return sum(row.status == "KEPT" for row in self.rows)

    @property
    def diverged(self) -> int:
        """The number of runs with a loss that is not finite."""
        return sum(row.diverged for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `--json` prints. A loss that is not finite is null, since JSON has no such number."""
        runs = [
            {
                "seed": row.spec.seed,
                "device": row.spec.device,
                "variant": row.spec.variant,
                "run_id": row.run_id,
                "status": row.status,
                "final_loss": row.final_loss if row.final_loss is not None and math.isfinite(row.final_loss) else None,
                "seconds": row.seconds,
                "reused": row.reused,
            }
            for row in self.rows
        ]
        return {"experiment_id": self.experiment_id, "parent_run_id": self.parent_run_id, "runs": runs}
