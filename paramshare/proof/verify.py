"""Train a sample of a sweep's runs again, and compare each run."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from paramshare.errors import in_a_line
from paramshare.proof.report import Verification, VerifyRow
from paramshare.proof.spec import VerifySpec
from paramshare.recipes.loading.find import find_target
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.sweeps import Members, read_members
from paramshare.tracking.store import Store, StoreAddress, open_existing_store, store_failures
from paramshare.training.choice import Engine

__all__ = ["Sample", "draw_sample", "verify", "verify_member"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a sweep's runs.

    Args:
        store: the store that holds the runs.
        sweep: the sweep with all of its FINISHED runs.
        members: the drawn runs, in the order of the sweep.
    """

    store: Store
    sweep: Members
    members: tuple[RunView, ...]

    def verification(self, rows: tuple[VerifyRow, ...]) -> Verification:
        """Return the result of the sample.

        Args:
            rows: a row for each run of `members`.
        """
        sweep = self.sweep
        return Verification(self.store.experiment_id, sweep.parent_run_id, sweep.name, len(sweep.runs), rows)


def draw_sample(spec: VerifySpec, address: StoreAddress) -> Sample:
    """Draw a sample of a sweep's runs. The same spec and sweep give the same sample.

    Args:
        spec: the sweep, and the size and the seed of the sample.
        address: the store that holds the sweep.

    Raises:
        UsageError: there is no such sweep, or no such recipe.
        ServerError: the store failed.
    """
    if spec.recipe is not None:
        find_target(spec.recipe)
    with store_failures(address):
        store = open_existing_store(address)
        sweep = read_members(store, spec.parent_run_id)
    rng = random.Random(spec.sample_seed)  # noqa: S311 - a sample, not a secret
    places = rng.sample(range(len(sweep.runs)), min(spec.sample, len(sweep.runs)))
    return Sample(store, sweep, tuple(sweep.runs[place] for place in sorted(places)))


def verify_member(
    member: RunView, address: StoreAddress, engine: Engine = "auto", recipe: str | None = None
) -> VerifyRow:
    """Train one run again and compare it. Return an exception as the row's error, so that other runs continue."""
    from paramshare.proof.reproduce import reproduce  # torch: a registration of the flow needs none

    try:
        return VerifyRow(member, reproduce(member.run_id, address, engine, recipe))
    except Exception as error:  # no error of a run may stop the other runs
        return VerifyRow(member, error=in_a_line(error))


def verify(
    spec: VerifySpec, address: StoreAddress, on_row: Callable[[VerifyRow], None] = lambda _: None
) -> Verification:
    """Train a sample of a sweep's runs again, one after another in this process, and compare them. Write nothing.

    Args:
        spec: the sweep, the sample and the engine.
        address: the store that holds the sweep.
        on_row: called with the row of each run. Defaults to nothing.

    Raises:
        UsageError, ServerError: see `draw_sample`.
    """
    sample = draw_sample(spec, address)
    rows = []
    for member in sample.members:
        rows.append(verify_member(member, address, spec.engine, spec.recipe))
        on_row(rows[-1])
    return sample.verification(tuple(rows))
