"""A sample of a sweep's runs, each trained again and compared."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from paramshare.errors import in_a_line
from paramshare.proof.report import Verification, VerifyRow
from paramshare.proof.reproduce import reproduce
from paramshare.proof.spec import VerifySpec
from paramshare.recipes.loading import find_target
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.sweeps import Members, read_members
from paramshare.tracking.store import Store, StoreAddress, open_existing_store, store_failures
from paramshare.training.choice import Engine

__all__ = ["Sample", "draw_sample", "verify", "verify_member"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Runs of a sweep.

    Args:
        store: that holds them.
        sweep: the sweep, with all its FINISHED runs.
        members: those of them that were drawn, in the sweep's order.
    """

    store: Store
    sweep: Members
    members: tuple[RunView, ...]

    def outcome(self, rows: tuple[VerifyRow, ...]) -> Verification:
        """What became of them.

        Args:
            rows: one for each of `members`.
        """
        sweep = self.sweep
        return Verification(self.store.experiment_id, sweep.parent_run_id, sweep.name, len(sweep.runs), rows)


def draw_sample(spec: VerifySpec, address: StoreAddress) -> Sample:
    """Draw the runs that `spec` asks for; the same spec and sweep give the same ones.

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
    """Train one run again and compare it. What is raised becomes a row that says so: the others go on."""
    try:
        return VerifyRow(member, reproduce(member.run_id, address, engine, recipe))
    except Exception as error:  # whatever it was, the other runs go on
        return VerifyRow(member, error=in_a_line(error))


def verify(
    spec: VerifySpec, address: StoreAddress, on_row: Callable[[VerifyRow], None] = lambda _: None
) -> Verification:
    """Train a sample of a sweep's runs again, one after the other in this process, and compare. Writes nothing.

    Args:
        spec: which sweep, how many of its runs, by which engine.
        address: the store that holds them.
        on_row: called for each run that was compared.

    Raises:
        UsageError, ServerError: as of `draw_sample`.
    """
    sample = draw_sample(spec, address)
    rows = []
    for member in sample.members:
        rows.append(verify_member(member, address, spec.engine, spec.recipe))
        on_row(rows[-1])
    return sample.outcome(tuple(rows))
