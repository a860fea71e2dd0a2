"""The names of the numbers of a training, and which way each is better. Plain data: torch is not needed."""

from typing import Final

from paramshare.recipes.parts import Metric

__all__ = [
    "COSTS",
    "DEPTH",
    "FINAL",
    "LOSS",
    "MACS",
    "PARAMETERS",
    "SECONDS",
    "SIZES",
    "STEPS_PER_SECOND",
]

LOSS: Final = "train/loss"
"""The metric of every step's loss, whatever is trained."""

FINAL: Final = "final/"
"""The beginning of the names of the trained model's metrics."""

DEPTH: Final = "depth"
PARAMETERS: Final = "model/parameters"
MACS: Final = "model/macs"
SECONDS: Final = "time/seconds"
STEPS_PER_SECOND: Final = "time/steps_per_second"


SIZES: Final = (
    Metric(PARAMETERS, "parameters"),
    Metric(MACS, "multiply-accumulates per sample"),
    Metric(SECONDS, "seconds per training"),
)
"""The size of a net and the time of its training. Not every recipe counts multiply-accumulates."""

COSTS: Final = (
    Metric(LOSS, "the last step's loss"),
    *SIZES,
    Metric(STEPS_PER_SECOND, "steps per second", "higher"),
)
"""The numbers of a run beside the metrics of its trained model."""
