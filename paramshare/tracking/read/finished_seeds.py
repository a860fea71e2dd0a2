"""Find the FINISHED runs of specs: a sweep trains only the specs that have none."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from paramshare.tracking.read.curves import as_trained
from paramshare.tracking.read.runs import target_of_params
from paramshare.tracking.read.summaries import Selection, Summary, read_seeds
from paramshare.tracking.store import Store
from paramshare.tracking.tags import DIVERGED, KEY, PARENT, TARGET
from paramshare.training.targets import LOSS, SECONDS, TARGETS, Spec

__all__ = ["SeedRun", "find_finished", "finished_runs", "seed_run"]

_FINALS: Final = tuple(metric for target in TARGETS.values() for metric in target.finals)
_PARAMS: Final = (TARGET, *dict.fromkeys(metric.only[0] for metric in _FINALS if metric.only))
_METRICS: Final = (LOSS, SECONDS, *dict.fromkeys(metric.name for metric in _FINALS))


@dataclass(frozen=True, slots=True)
class SeedRun:
    """A FINISHED run of one spec.

    Args:
        key: the spec's key.
        run_id: MLflow's id.
        final_loss: the loss of the last step.
        finals: the metrics of the trained net by name; the target's headline first.
        seconds: the duration of the training.
        diverged: true if one of its losses is not finite.
    """

    key: str
    run_id: str
    final_loss: float
    finals: Mapping[str, float]
    seconds: float
    diverged: bool = False


def find_finished(store: Store, specs: Sequence[Spec], parent_run_id: str | None = None) -> dict[str, SeedRun]:
    """Return the newest FINISHED run of each spec that has one, by the spec's key.

    Args:
        parent_run_id: the id of a sweep. Defaults to None: the runs of all sweeps.
    """
    keys, runs = {spec.key() for spec in specs}, dict[str, SeedRun]()
    for run in finished_runs(store, (spec.seed for spec in specs)):
        key = run.tags.get(KEY, "")
        of_sweep = parent_run_id is None or run.tags.get(PARENT) == parent_run_id
        if of_sweep and key in keys and key not in runs:
            runs[key] = seed_run(run)
    return runs


def seed_run(run: Summary) -> SeedRun:
    """Return the values of a seed's FINISHED run that a sweep needs."""
    key, metrics = run.tags[KEY], run.metrics
    target = target_of_params(run.params)
    names = (LOSS, *(metric.name for metric in target.finals_of(run.params)))
    last, *finals = (float(as_trained(metrics[name])) for name in names)
    diverged = DIVERGED in run.tags or not all(map(math.isfinite, (last, *finals)))
    return SeedRun(key, run.run_id, last, dict(zip(names[1:], finals, strict=True)), metrics[SECONDS], diverged)


def finished_runs(store: Store, seeds: Iterable[int]) -> Iterator[Summary]:
    """Yield the parts that `seed_run` needs of every FINISHED run of these seeds; runs of one seed newest first.

    The value of a tag has no index, and MLflow's search accepts no list of tags. It accepts a list of datasets, and the
    name of a seed's dataset contains the seed. So of a large store only the runs of these seeds are read.
    """
    names = tuple(target.dataset + str(seed) for seed in dict.fromkeys(seeds) for target in TARGETS.values())
    yield from read_seeds(store, Selection(True, names, (KEY, PARENT, DIVERGED), _PARAMS, _METRICS))
