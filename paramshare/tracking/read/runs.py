"""Search the runs of a store, and find one by its id."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

from paramshare.errors import UsageError
from paramshare.recipes.target import Target, described_target, target_named
from paramshare.tracking.store import Store, redacted
from paramshare.tracking.tags import KIND, RECIPE, TARGET

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["ENDED_SEEDS", "FINISHED_SEEDS", "find_run", "search", "search_experiments", "target_of_run"]

FINISHED_SEEDS: Final = f"attributes.status = 'FINISHED' AND tags.`{KIND}` = 'seed'"
ENDED_SEEDS: Final = f"tags.`{KIND}` = 'seed' AND attributes.status != 'RUNNING' AND attributes.status != 'KILLED'"

_FIRST_TARGET: Final = "dynamicnet"  # the target of runs of the first version, which have no such parameter
_RUNS_A_PAGE: Final = 1000
_IDS_SHOWN: Final = 3


def search(store: Store, condition: str) -> "Iterator[Run]":
    """Yield every run of the experiment that meets `condition`, the newest first."""
    yield from search_experiments(store.client, [store.experiment_id], condition)


def search_experiments(client: "MlflowClient", experiment_ids: list[str], condition: str) -> "Iterator[Run]":
    """Yield every run of these experiments that meets `condition`, the newest first."""
    token = None
    while True:
        page = client.search_runs(experiment_ids, condition, max_results=_RUNS_A_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def find_run(store: Store, run_id: str) -> "Run":
    """Return the run whose id is `run_id` or begins with it.

    Args:
        run_id: 8 to 32 hexadecimal digits.

    Raises:
        UsageError: the experiment has no such run, or several.
    """
    runs = list(islice(search(store, f"attributes.run_id LIKE '{run_id}%'"), _IDS_SHOWN))
    if not runs:
        raise UsageError(
            f"there is no run {run_id} in the experiment {store.address.experiment!r} of "
            f"{redacted(store.address.uri)}; name another experiment"
        )
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id for run in runs)
        raise UsageError(f"several runs begin with {run_id}, such as {ids}; pass more of the id")
    return runs[0]


def target_of_run(params: Mapping[str, str], tags: Mapping[str, str]) -> Target:
    """Return the target that a run trained: of a recipe, without its code.

    Raises:
        SpecError: the target is unknown.
    """
    if RECIPE in tags:
        return described_target(tags[RECIPE])
    return target_named(params.get(TARGET, _FIRST_TARGET))
