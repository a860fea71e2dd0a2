"""What every seed's run of an experiment came to, read in a few queries: for whoever compares."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from paramshare.tracking.read.finished_seeds import DIVERGED, KEY, TARGET, as_trained, read_seeds, target_of_params
from paramshare.tracking.read.summaries import Selection, Summary
from paramshare.tracking.store import Store

__all__ = ["SeedValues", "read_values"]

_ENGINE: Final = "paramshare.engine"
_ENDED: Final = Selection(finished=False, datasets=None, tags=(KEY, DIVERGED, _ENGINE))


@dataclass(frozen=True, slots=True)
class SeedValues:
    """A seed's run that has ended.

    Args:
        run_id: MLflow's id.
        seed: of its spec.
        finished: whether it did; else it failed.
        facts: what it was trained by, as text by name: its target, all of its spec but the seed, and its engine.
        metrics: the last value of each of its metrics; what was not finite is infinite or NaN, as is all that the net
            of a run that diverged comes to, for a net of NaNs has an accuracy. Empty where it failed.
    """

    run_id: str
    seed: int
    finished: bool
    facts: Mapping[str, str]
    metrics: Mapping[str, float]


def read_values(store: Store) -> list[SeedValues]:
    """Of every spec in the experiment the newest FINISHED run by each engine, else the newest FAILED one."""
    finished, failed = dict[tuple[str, str], SeedValues](), dict[str, SeedValues]()
    for run in read_seeds(store, _ENDED):
        key, values = run.tags.get(KEY, ""), _values(run)
        if values.finished:
            finished.setdefault((key, values.facts["engine"]), values)
        else:
            failed.setdefault(key, values)
    done = {key for key, _ in finished}
    return [*finished.values(), *(values for key, values in failed.items() if key not in done)]


def _values(run: Summary) -> SeedValues:
    target = target_of_params(run.params)
    facts = {TARGET: target.name, "arithmetic": "direct", **run.params}
    seed = int(facts.pop("seed"))
    metrics = {name: as_trained(value) for name, value in run.metrics.items()}
    if DIVERGED in run.tags:
        metrics |= dict.fromkeys(metrics.keys() & {metric.name for metric in target.finals}, math.nan)
    engine = run.tags.get(_ENGINE, "")
    return SeedValues(run.run_id, seed, run.status == "FINISHED", {**facts, "engine": engine}, metrics)
