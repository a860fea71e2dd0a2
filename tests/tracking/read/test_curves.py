"""The values of a metric are read back in order, as they were trained."""

import math
import sys

import numpy as np

from paramshare.recipes.spec import Spec
from paramshare.tracking.read.curves import read_all_losses, read_histories
from paramshare.tracking.store import Store
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.tracking.write.record import Point, Record
from paramshare.tracking.write.runs import write
from paramshare.training.engines import train
from support.specs import replace

CURVES = Record(
    "curves",
    "FINISHED",
    1,
    2,
    tags={},
    params={},
    points=[
        *(Point("shuffled", float(step), 5, step) for step in (3, 1, 2)),
        *(Point("left the numbers", value, 5, step) for step, value in enumerate((math.inf, -math.inf, math.nan))),
    ],
)
EMPTY = Record("failed", "FAILED", 1, 2, tags={}, params={})


def test_the_values_of_a_metric_are_read_in_the_order_of_their_steps(store: Store) -> None:
    run_ids = [write(store, CURVES), write(store, EMPTY), write(store, CURVES)]
    histories = read_histories(store, run_ids, "shuffled")
    assert histories == {run_ids[0]: [1.0, 2.0, 3.0], run_ids[2]: [1.0, 2.0, 3.0]}
    (first, _, last) = read_histories(store, run_ids[:1], "left the numbers")[run_ids[0]]
    assert first == sys.float_info.max
    assert math.isnan(last)


def test_the_losses_of_many_runs_are_read_bit_for_bit_in_the_requested_order(store: Store, small: Spec) -> None:
    results = [train(replace(small, seed=seed, steps=steps)) for seed, steps in ((1, 20), (2, 1234), (3, 7))]
    odd = np.array([np.inf, -np.inf, np.nan, np.float32(1e-45), 0.0, 3.0, 1.0], np.float32)
    results[2] = replace(results[2], losses=odd)
    run_ids = [write_run(store, result, {}).run_id for result in results]
    for losses, result in zip(read_all_losses(store, run_ids[::-1]), results[::-1], strict=True):
        assert losses.tobytes() == result.losses.tobytes()
