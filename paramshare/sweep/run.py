"""One sweep from its spec to its parent run, whoever runs the chunks: this machine's processes, or a flow's tasks."""

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from paramshare.bands import Band
from paramshare.sweep.chunks import Chunk, Row, make_chunks, slots
from paramshare.sweep.pools import run_chunks
from paramshare.sweep.report import counts_of, group_of, note_of, sweep_name, table_of
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.display.views import sweep_view_tags
from paramshare.tracking.read.artifacts import artifact_location
from paramshare.tracking.read.curves import read_all_losses
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.seeds import find_finished
from paramshare.tracking.read.sweeps import find_sweep, read_note
from paramshare.tracking.store import Store, StoreAddress, check_store, open_store, store_failures, update_statistics
from paramshare.tracking.tags import CURVES_FILE, ENGINE, ENGINE_REASON, FORCED, PARENT, SETTLED
from paramshare.tracking.write.deduplication import Policy, deduplicate
from paramshare.tracking.write.kinds.sweeps import finish_sweep, log_progress, start_sweep
from paramshare.tracking.write.orphans import close_orphans, close_own
from paramshare.tracking.write.owners import Owner, renewed_lease
from paramshare.tracking.write.spool import Delivery, OutageError, call_guarded, deliver, is_healthy, spooled
from paramshare.training.choice import Choice
from paramshare.training.devices import Device, choose_devices, find_devices
from paramshare.training.memory import check_memory
from paramshare.training.targets import Spec

__all__ = ["Outcome", "Sweep", "check_sweep", "open_sweep", "run_sweep"]

_LONGEST_PARAM: Final = 500  # characters; MLflow cuts at 6000
_KEPT: Final = "finished runs are kept"  # without the number of runs
_PROGRESS_EVERY: Final = 1.0  # seconds between two writes of the parent run's progress


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sweep came to.

    Args:
        experiment_id, parent_run_id: MLflow's ids.
        rows: one for every spec, in the spec's order.
        curves: where the figure of the aggregate curves lies; empty where results are kept in the spool.
        name: what a person calls the sweep.
        note: the parent run's, in Markdown; its links are relative to MLflow's pages.
    """

    experiment_id: str
    parent_run_id: str
    rows: tuple[Row, ...]
    curves: str
    name: str
    note: str

    @property
    def failed(self) -> int:
        """How many runs failed."""
        return sum(row.status == "FAILED" for row in self.rows)

    @property
    def kept(self) -> int:
        """How many results lie in the spool, since the server cannot take them."""
        return sum(row.status == "KEPT" for row in self.rows)

    @property
    def diverged(self) -> int:
        """How many runs finished with a loss that is not finite."""
        return sum(row.diverged for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints. A loss that is not finite is null: JSON has no other word for it."""
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


@dataclass(slots=True)
class Sweep:
    """A sweep that has been opened: what is asked for, what the store already holds, and the rows so far.

    Args:
        spec: what was asked for.
        devices: what its devices mean on this machine.
        specs: every run of it, in order.
        store: where the runs go.
        delivery: what became of the results that an earlier sweep had to keep in the spool.
        reused: the FINISHED runs that the store held before, by key.
        parent_run_id: the run above them.
        complete: whether the store held all of it, parent run too: then nothing is written.
        tags: what each new run carries.
    """

    spec: SweepSpec
    devices: tuple[str, ...]
    specs: tuple[Spec, ...]
    store: Store
    delivery: Delivery
    reused: Mapping[str, RunView]
    parent_run_id: str
    complete: bool
    tags: dict[str, str]
    _rows: dict[str, Row] = field(default_factory=dict)
    _told: float = 0.0

    def __post_init__(self) -> None:
        for spec in self.specs:
            if run := self.reused.get(spec.key()):
                self._rows[spec.key()] = Row.finished(spec, run)

    @property
    def pending(self) -> tuple[Spec, ...]:
        """The specs that are still to be trained."""
        return tuple(spec for spec in self.specs if spec.key() not in self._rows)

    def chunks(self, size: int) -> list[Chunk]:
        """What is still to be trained, in chunks of at most `size` specs."""
        return make_chunks(self.pending, size, self.spec.engine, self.store.address, self.tags, force=self.spec.force)

    def slots(self) -> int:
        """How many chunks can run at once on all devices together."""
        return sum(slots(device, self.spec.workers, self.store.address) for device in self.devices)

    def add(self, row: Row) -> None:
        """Take the row of a run that has ended."""
        self._rows[row.spec.key()] = row
        if time.monotonic() - self._told > _PROGRESS_EVERY:
            self._told = time.monotonic()
            with suppress(OutageError):  # what `finish` writes says it, too
                call_guarded(self.store.address, lambda: log_progress(self.store, self.parent_run_id, len(self._rows)))

    def finish(self) -> Outcome:
        """Write the parent run: the curves of each group, the table, the note. Needs a row for every spec.

        What was kept while a server was gone is delivered first. While some of it cannot be, the parent run stays as it
        is: the next sweep over the same specs delivers it, and has a parent run that tells of all.
        """
        self._deliver()
        if any(row.status == "KEPT" for row in self._rows.values()):
            return self._unfinished()
        if not self.complete:
            self._deduplicate()
        rows = tuple(self._rows[spec.key()] for spec in self.specs)
        name = sweep_name(self.spec, self.devices)
        if not self.complete:
            self._write_parent(rows, name)
        return Outcome(
            experiment_id=self.store.experiment_id,
            parent_run_id=self.parent_run_id,
            rows=rows,
            curves=artifact_location(self.store, self.parent_run_id, CURVES_FILE),
            name=name,
            note=read_note(self.store, self.parent_run_id),
        )

    def _deliver(self) -> None:
        """Write what was kept while the server was gone, if it is back."""
        if not spooled(self.store.address) or not is_healthy(self.store.address):
            return
        deliver(self.store)
        kept = [row for row in self._rows.values() if row.status == "KEPT"]
        if not kept:
            return
        with suppress(OutageError):
            found = call_guarded(self.store.address, lambda: find_finished(self.store, [row.spec for row in kept]))
            for row in kept:
                if run := found.get(row.spec.key()):
                    self._rows[run.key] = replace(row, run_id=run.run_id, status="FINISHED", error="")

    def _unfinished(self) -> Outcome:
        """What a sweep has come to whose results are partly in the spool."""
        rows = tuple(self._rows[spec.key()] for spec in self.specs)
        note = note_of(self.spec, rows, self.store.experiment_id, self.parent_run_id)
        name = sweep_name(self.spec, self.devices)
        return Outcome(self.store.experiment_id, self.parent_run_id, rows, curves="", name=name, note=note)

    def _deduplicate(self) -> None:
        """Delete duplicates among the new runs, and use the runs of other sweeps that replace them.

        A forced sweep keeps its runs even if other sweeps have the same ones.
        """
        written = {
            key: row for key, row in self._rows.items() if row.status == "FINISHED" and not row.reused and row.run_id
        }
        run_ids = {key: row.run_id for key, row in written.items()}
        seeds = [row.spec.seed for row in written.values()]
        policy: Policy = "one_per_sweep" if self.spec.force else "one_per_experiment"
        for key, run in deduplicate(self.store, self.parent_run_id, run_ids, seeds, policy).items():
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
            views=sweep_view_tags(self.spec.trained.name, bands, self.parent_run_id) if bands else {},
        )
        update_statistics(self.store)

    def _bands(self, rows: Sequence[Row]) -> dict[str, Band]:
        """The band of each group's curves; those of runs that were re-used are read."""
        finished = [row for row in rows if row.status == "FINISHED"]
        unread = [row.run_id for row in finished if row.losses is None]
        read = dict(zip(unread, read_all_losses(self.store, unread), strict=True))
        curves = defaultdict(list)
        for row in finished:
            curves[group_of(row.spec)].append(read[row.run_id] if row.losses is None else row.losses)
        return {group: Band.of(of_group) for group, of_group in curves.items()}


def check_sweep(spec: SweepSpec, address: StoreAddress, found: Sequence[Device] | None = None) -> tuple[str, ...]:
    """The devices that `spec` means. Trains nothing and writes nothing.

    Args:
        found: those that there are where the chunks will run; this machine's unless given.

    Raises:
        UsageError: a device is not there, the engine does not run on it, a run needs more memory than this machine has,
            or the store cannot be opened.
    """
    where = "on this machine" if found is None else "on the workers of the cluster"
    devices = choose_devices(spec.device_list, find_devices() if found is None else found, where)
    for variant in spec.variant_list:
        choices = spec.choices(devices, variant)
        if found is None:
            check_memory(choice.spec for choice in choices)
    check_store(address)
    return devices


@contextmanager
def open_sweep(
    spec: SweepSpec, address: StoreAddress, tags: Mapping[str, str], found: Sequence[Device] | None = None
) -> Iterator[Sweep]:
    """Open a sweep, and end its parent run truthfully where the block does not come to `finish`.

    What dead processes have left RUNNING in the experiment is closed before; see `orphans`. What ends the block gets a
    note (PEP 678) of how many runs are finished.

    Args:
        spec: what to sweep.
        address: the store.
        tags: what the parent run and each new run carry beside their own and their provenance.
        found: as of `check_sweep`.

    Raises:
        UsageError: a device is not there, or the store cannot be opened. Nothing is written then.
        ServerError: the store failed while the sweep ran.
    """
    devices = check_sweep(spec, address, found)
    specs = spec.train_specs(devices)
    with store_failures(address):
        store, owner = open_store(address), Owner.here()
        delivery = deliver(store)  # so that what was trained before is found
        close_orphans(store)
        try:
            sweep = _open(spec, devices, specs, store, tags, owner, delivery)
            with nullcontext() if sweep.complete else renewed_lease(store, sweep.parent_run_id):
                yield sweep
        except BaseException as error:
            reachable = is_healthy(address)
            if reachable:  # else the next sweep ends it
                close_own(store, owner, "FAILED" if isinstance(error, Exception) else "KILLED")
            if not spec.force:  # nothing tells the runs of a forced sweep from those before it
                error.add_note(_finished(store, specs) if reachable else _KEPT)
            raise


def run_sweep(
    spec: SweepSpec,
    address: StoreAddress,
    tags: Mapping[str, str],
    on_open: Callable[[Sweep], None] = lambda _: None,
    on_row: Callable[[Row], None] = lambda _: None,
) -> Outcome:
    """Run a whole sweep on this machine, in this process and a pool of its own.

    Args:
        on_open: called once, before anything is trained.
        on_row: called for each run as it ends.

    Raises:
        UsageError, ServerError: as `open_sweep`.
    """
    with open_sweep(spec, address, tags) as sweep:
        on_open(sweep)
        with closing(run_chunks(sweep.chunks(size=1), spec.workers)) as rows:  # no process writes on when this ends
            for row in rows:
                sweep.add(row)
                on_row(row)
        return sweep.finish()


def _open(
    spec: SweepSpec,
    devices: tuple[str, ...],
    specs: tuple[Spec, ...],
    store: Store,
    tags: Mapping[str, str],
    owner: Owner,
    delivery: Delivery,
) -> Sweep:
    keys = [one.key() for one in specs]
    reused = {} if spec.force else find_finished(store, specs)
    sweep_key = hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:32]
    found = find_sweep(store, sweep_key) if len(reused) == len(keys) else None
    if found is not None:
        return Sweep(spec, devices, specs, store, delivery, reused, found, complete=True, tags={})
    from paramshare.provenance import provenance_tags  # reads versions, asks git

    carried = {**provenance_tags(), **tags}
    above = {
        **carried,
        **_engine_tags(spec.choices(devices)),
        **owner.tags(),
        **({FORCED: "true"} if spec.force else {}),
        **({SETTLED: "true"} if store.database is not None else {}),
    }
    parent = start_sweep(store, sweep_name(spec, devices), sweep_key, _params(spec, devices), above)
    tags = {**carried, PARENT: parent}
    return Sweep(spec, devices, specs, store, delivery, reused, parent, complete=False, tags=tags)


def _finished(store: Store, specs: Sequence[Spec]) -> str:
    """Return how many runs of a sweep are finished, as text; without the number if the store fails."""
    try:
        return f"{len(find_finished(store, specs))} of {len(specs)} runs are finished and kept"
    except Exception:  # the exception that ended the sweep is the one to report
        return _KEPT


def _engine_tags(choices: Sequence[Choice]) -> dict[str, str]:
    """What each device's engine is, and why; a seed's run says its own."""
    return {
        ENGINE: ", ".join(f"{choice.engine} on {choice.spec.device}" for choice in choices),
        ENGINE_REASON: "; ".join(dict.fromkeys(choice.reason for choice in choices)),
    }


def _params(spec: SweepSpec, devices: tuple[str, ...]) -> dict[str, str]:
    """What was asked for, with what stands for it where nothing was said."""
    asked = {
        "target": spec.target,
        "seeds": spec.seeds,
        "variant": ",".join(spec.variant_list),
        **spec.options,
        "engine": spec.engine,
        "devices": ",".join(devices),
    }
    if len(spec.seeds) > _LONGEST_PARAM:
        asked["seeds"] = f"{len(spec.seed_list)} seeds, listed in the table"
    return {name: str(value) for name, value in asked.items()}
