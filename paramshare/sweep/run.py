"""The course of a sweep: open it, run its chunks, finish it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Final

from paramshare.errors import UsageError
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import Target
from paramshare.sweep.chunks import Row
from paramshare.sweep.plan import Plan, check_sweep
from paramshare.sweep.report import sweep_name
from paramshare.sweep.result import SweepResult
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.state import Sweep
from paramshare.sweep.workers.pools import run_chunks
from paramshare.tracking.display.views import recipe_view_tags
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.seeds import find_finished
from paramshare.tracking.read.sweeps import find_sweep
from paramshare.tracking.store import Store, StoreAddress, open_store, store_failures, tag_experiment
from paramshare.tracking.tags import ENGINE, ENGINE_REASON, FORCED, RECIPE_DIGEST, SETTLED
from paramshare.tracking.write.kinds.recipes import recipe_tags
from paramshare.tracking.write.kinds.sweeps import start_sweep
from paramshare.tracking.write.orphans import close_orphans, close_own
from paramshare.tracking.write.owners import Owner, renewed_lease
from paramshare.tracking.write.spool import Delivery, deliver, is_healthy
from paramshare.training.environment.devices import Device

__all__ = ["open_sweep", "run_sweep"]

_MAX_PARAM: Final = 500  # characters; MLflow cuts at 6000
_FINISHED_KEPT: Final = "finished runs are kept"  # without the number of runs


@contextmanager
def open_sweep(
    spec: SweepSpec, address: StoreAddress, tags: Mapping[str, str], available: Sequence[Device] | None = None
) -> Iterator[Sweep]:
    """Open a sweep. If the block ends without `finish`, end the parent run with the status that applies.

    Orphaned runs of the experiment are closed first. An exception that ends the block gets a note (PEP 678) with the
    number of finished runs.

    Args:
        spec: the spec of the sweep.
        address: the store.
        tags: the tags of the parent run and of each new run, beside their own and their provenance.
        available: the devices where the chunks will run. Defaults to the devices of this machine.

    Raises:
        UsageError: see `check_sweep`. Nothing is written then.
        ServerError: the store failed while the sweep ran.
    """
    plan = check_sweep(spec, address, available)
    with store_failures(address):
        store, owner = open_store(address), Owner.here()
        delivery = deliver(store)  # before the store is searched for finished runs
        close_orphans(store)
        try:
            sweep = _open(spec, plan, store, tags, owner, delivery)
            with nullcontext() if sweep.complete else renewed_lease(store, sweep.parent_run_id):
                yield sweep
        except BaseException as error:
            reachable = is_healthy(address)
            if reachable:  # else the next sweep ends the parent run
                close_own(store, owner, "FAILED" if isinstance(error, Exception) else "KILLED")
            if not spec.force:  # nothing tells the runs of a forced sweep from earlier ones
                error.add_note(_progress_note(store, plan.specs) if reachable else _FINISHED_KEPT)
            raise


def run_sweep(
    spec: SweepSpec,
    address: StoreAddress,
    tags: Mapping[str, str],
    on_open: Callable[[Sweep], None] = lambda _: None,
    on_row: Callable[[Row], None] = lambda _: None,
) -> SweepResult:
    """Run a sweep on this machine, in this process and pools of its own.

    Args:
        on_open: called once, before training starts.
        on_row: called for each run as it ends.

    Raises:
        UsageError, ServerError: see `open_sweep`.
    """
    with open_sweep(spec, address, tags) as sweep:
        on_open(sweep)
        with closing(run_chunks(sweep.chunks(size=1), spec.workers)) as rows:  # no process writes after this block
            for row in rows:
                sweep.add(row)
                on_row(row)
        return sweep.finish()


def _open(
    spec: SweepSpec, plan: Plan, store: Store, tags: Mapping[str, str], owner: Owner, delivery: Delivery
) -> Sweep:
    """Find the runs of a sweep in the store, and start its parent run unless all are there."""
    specs = plan.specs
    keys = [run_spec.key() for run_spec in specs]
    reused = {} if spec.force else find_finished(store, specs)
    if not spec.same_source:
        _check_source(spec.trained, reused.values())
    sweep_key = hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:32]
    parent = find_sweep(store, sweep_key) if len(reused) == len(keys) else None
    if parent is not None:
        return Sweep(spec, plan, store, delivery, reused, parent, complete=True, tags={})
    _try_recipe(plan, reused)
    from paramshare.provenance import provenance_tags  # reads versions, asks git

    run_tags = {**provenance_tags(), **tags}
    parent_tags = {
        **run_tags,
        **recipe_tags(spec.trained),
        **_engine_tags(plan),
        **owner.tags(),
        **({FORCED: "true"} if spec.force else {}),
        **({SETTLED: "true"} if store.database is not None else {}),
    }
    name = sweep_name(spec, plan.devices)
    parent = start_sweep(store, name, sweep_key, _params(spec, plan.devices), parent_tags)
    tag_experiment(store, recipe_view_tags(spec.trained))
    return Sweep(spec, plan, store, delivery, reused, parent, complete=False, tags=run_tags)


def _try_recipe(plan: Plan, reused: Mapping[str, RunView]) -> None:
    """Try the start of each variant of a user's recipe that is to be trained, so that a faulty one leaves no runs.

    Raises:
        SpecError: the recipe fails.
    """
    first = {spec.variant: spec for spec in reversed(plan.specs) if spec.key() not in reused}
    for spec in first.values():
        if not spec.target.built_in:
            from paramshare.recipes.checking.first_loss import try_start  # loads torch

            try_start(spec)


def _check_source(target: Target, runs: Iterable[RunView]) -> None:
    """Refuse to use finished runs of a recipe that another source has trained.

    Raises:
        UsageError: the source has changed since, and the version has not.
    """
    if target.built_in:
        return
    changed = [run for run in runs if run.tags.get(RECIPE_DIGEST) != target.digest]
    if changed:
        raise UsageError(
            f"the source of {target.name} has changed since its version {target.version} trained {len(changed)} of "
            "these runs; raise `version` in the recipe, or pass --same-source if its numbers are the same"
        )


def _progress_note(store: Store, specs: Sequence[Spec]) -> str:
    """Return how many runs of a sweep are finished, as text; without the number if the store fails."""
    try:
        return f"{len(find_finished(store, specs))} of {len(specs)} runs are finished and kept"
    except Exception:  # the exception that ended the sweep is the one to report
        return _FINISHED_KEPT


def _engine_tags(plan: Plan) -> dict[str, str]:
    """Return the tags of the parent run that name the engine of each device, and why it was chosen."""
    engines = dict.fromkeys(f"{choice.engine} on {choice.spec.device}" for choice in plan.choices)
    return {
        ENGINE: ", ".join(engines),
        ENGINE_REASON: "; ".join(dict.fromkeys(choice.reason for choice in plan.choices)),
    }


def _params(spec: SweepSpec, devices: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of the parent run, defaults included."""
    params = {
        "target": spec.trained.name,
        "seeds": spec.seeds,
        "variant": ",".join(spec.variant_list),
        **spec.run_options,
        "engine": spec.engine,
        "devices": ",".join(devices),
    }
    if len(spec.seeds) > _MAX_PARAM:
        params["seeds"] = f"{len(spec.seed_list)} seeds, listed in the table"
    return {name: str(value) for name, value in params.items()}
