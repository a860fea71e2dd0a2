"""The state of an open sweep: its plan, the rows so far, and the end of its parent run."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from paramshare.bands import Band
from paramshare.recipes.spec import Spec
from paramshare.sweep.chunks import Chunk, Row, make_chunks, max_workers
from paramshare.sweep.plan import Plan
from paramshare.sweep.report import counts_of, group_of, note_of, sweep_name, table_of
from paramshare.sweep.result import SweepResult
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.display.views import sweep_view_tags
from paramshare.tracking.read.artifacts import artifact_location
from paramshare.tracking.read.curves import read_all_losses
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.seeds import find_finished
from paramshare.tracking.read.sweeps import read_note
from paramshare.tracking.store import Store, update_statistics
from paramshare.tracking.tags import CURVES_FILE
from paramshare.tracking.write.deduplication import Policy, deduplicate
from paramshare.tracking.write.kinds.sweeps import finish_sweep, log_progress
from paramshare.tracking.write.spool import Delivery, OutageError, call_guarded, deliver, is_healthy, spooled
from paramshare.training.choice import Choice

__all__ = ["Sweep"]

_PROGRESS_SECONDS: Final = 1.0  # between two updates of the parent run's progress


@dataclass(slots=True)
class Sweep:
    """An open sweep.

    Args:
        spec: the spec of the sweep.
        plan: its runs.
        store: the store that the runs are written to.
        delivery: the fate of results that an earlier sweep left in the spool.
        reused: the FINISHED runs that the store held before, by key.
        parent_run_id: the id of the parent run.
        complete: whether the store held the parent run and every run before. Nothing is written then.
        tags: the tags of each new run, without the tag of the parent.
    """

    spec: SweepSpec
    plan: Plan
    store: Store
    delivery: Delivery
    reused: Mapping[str, RunView]
    parent_run_id: str
    complete: bool
    tags: Mapping[str, str]
    _rows: dict[str, Row] = field(default_factory=dict)
    _last_progress: float = 0.0

    def __post_init__(self) -> None:
        for spec in self.specs:
            if run := self.reused.get(spec.key()):
                self._rows[spec.key()] = Row.finished(spec, run)

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The spec of every run, in order."""
        return self.plan.specs

    @property
    def pending(self) -> tuple[Choice, ...]:
        """The specs that have no row yet, each with its engine."""
        return tuple(choice for choice in self.plan.choices if choice.spec.key() not in self._rows)

    @property
    def workers(self) -> int:
        """Maximum number of chunks that run at the same time on all devices of this machine together."""
        devices, gpus = self.plan.devices, self.plan.gpus
        return sum(max_workers(device, self.spec.workers, self.store.address, gpus) for device in devices)

    def chunks(self, size: int) -> list[Chunk]:
        """Return the pending specs in chunks, see `make_chunks`."""
        return make_chunks(
            self.pending,
            size,
            self.store.address,
            self.parent_run_id,
            self.tags,
            force=self.spec.force,
            checkpoint_every=self.spec.checkpoint_every,
            checkpoint_folder=self.spec.checkpoint_folder,
            gpus=self.plan.gpus,
        )

    def add(self, row: Row) -> None:
        """Add the row of a run that has ended."""
        self._rows[row.spec.key()] = row
        if time.monotonic() - self._last_progress > _PROGRESS_SECONDS:
            self._last_progress = time.monotonic()
            with suppress(OutageError):  # `finish` writes the progress again
                call_guarded(self.store.address, lambda: log_progress(self.store, self.parent_run_id, len(self._rows)))

    def finish(self) -> SweepResult:
        """Write the parent run: the curves of each group, the table and the note. Every spec needs a row.

        Results in the spool are delivered first. If some of them cannot be delivered, the parent run is left as it is:
        the next sweep over the same specs delivers them and writes a complete parent run.
        """
        self._deliver()
        if any(row.status == "KEPT" for row in self._rows.values()):
            return self._partial_result()
        if not self.complete:
            self._deduplicate()
        rows = tuple(self._rows[spec.key()] for spec in self.specs)
        name = sweep_name(self.spec, self.plan.devices)
        if not self.complete:
            self._write_parent(rows, name)
        return SweepResult(
            experiment_id=self.store.experiment_id,
            parent_run_id=self.parent_run_id,
            rows=rows,
            curves=artifact_location(self.store, self.parent_run_id, CURVES_FILE),
            name=name,
            note=read_note(self.store, self.parent_run_id),
        )

    def _deliver(self) -> None:
        """Deliver the results in the spool, if the server answers again."""
        if not spooled(self.store.address) or not is_healthy(self.store.address):
            return
        deliver(self.store)
        kept = [row for row in self._rows.values() if row.status == "KEPT"]
        if not kept:
            return
        with suppress(OutageError):
            runs = call_guarded(self.store.address, lambda: find_finished(self.store, [row.spec for row in kept]))
            for row in kept:
                if run := runs.get(row.spec.key()):
                    self._rows[run.key] = replace(row, run_id=run.run_id, status="FINISHED", error="")

    def _partial_result(self) -> SweepResult:
        """Return the result of a sweep that has results in the spool."""
        rows = tuple(self._rows[spec.key()] for spec in self.specs)
        note = note_of(self.spec, rows, self.store.experiment_id, self.parent_run_id)
        name = sweep_name(self.spec, self.plan.devices)
        return SweepResult(self.store.experiment_id, self.parent_run_id, rows, curves="", name=name, note=note)

    def _deduplicate(self) -> None:
        """Delete duplicates among the new runs, and use the runs of other sweeps that replace them.

        A forced sweep keeps its runs even if other sweeps have the same ones.
        """
        written = {
            key: row for key, row in self._rows.items() if row.status == "FINISHED" and not row.reused and row.run_id
        }
        own = {key: row.run_id for key, row in written.items()}
        trained = [(self.spec.trained, row.spec.seed) for row in written.values()]
        policy: Policy = "one_per_sweep" if self.spec.force else "one_per_experiment"
        for key, run in deduplicate(self.store, self.parent_run_id, own, trained, policy).items():
            self._rows[key] = Row.finished(written[key].spec, run)

    def _write_parent(self, rows: Sequence[Row], name: str) -> None:
        from paramshare.plots import aggregate_curves

        bands = self._bands(rows)
        log_progress(self.store, self.parent_run_id, len(rows))
        finish_sweep(
            self.store,
            self.parent_run_id,
            status="FAILED" if any(row.status == "FAILED" for row in rows) else "FINISHED",
            bands=bands,
            metrics=counts_of(rows),
            figure=aggregate_curves(bands, name, self.spec.trained.loss),
            table=table_of(rows),
            note=note_of(self.spec, rows, self.store.experiment_id, self.parent_run_id),
            views=sweep_view_tags(self.spec.trained, bands, self.parent_run_id) if bands else {},
        )
        update_statistics(self.store)

    def _bands(self, rows: Sequence[Row]) -> dict[str, Band]:
        """Return the band of each group's curves. The losses of reused runs are read from the store."""
        finished = [row for row in rows if row.status == "FINISHED"]
        unread = [row.run_id for row in finished if row.losses is None]
        read = dict(zip(unread, read_all_losses(self.store, unread), strict=True))
        curves = defaultdict(list)
        for row in finished:
            curves[group_of(row.spec)].append(read[row.run_id] if row.losses is None else row.losses)
        return {group: Band.of(group_curves) for group, group_curves in curves.items()}
