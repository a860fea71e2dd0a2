"""The memory that a training takes at least. Plain data: torch is not needed to ask."""

import os
from collections.abc import Iterable
from typing import Final

from paramshare.errors import SpecError
from paramshare.training.digits.spec import CLASSES, DigitsSpec
from paramshare.training.spec import DEPTHS, TrainSpec
from paramshare.training.targets import Spec

__all__ = ["check_memory", "least_memory"]

_FLOAT: Final = 4
_OF_A_STEP: Final = 16  # its depth or batch, and its loss
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def least_memory(spec: Spec) -> int:
    """Return the bytes of host memory that a training takes at least, on every device: draws are made there."""
    of_steps = _OF_A_STEP * spec.steps
    if isinstance(spec, TrainSpec):
        wide, middles = spec.hidden_size, 1 if spec.variant == "shared" else max(DEPTHS)
        parameters = (spec.input_size + 1 + middles * (wide + 1)) * wide + (wide + 1) * spec.output_size
        data = _FLOAT * spec.batch_size * (spec.input_size + spec.output_size)
        return _of_parameter(spec.momentum) * parameters + data + of_steps
    if not isinstance(spec, DigitsSpec):  # of a recipe; `untie` refuses a twin that does not fit
        return of_steps
    channels = spec.channels
    parameters = 10 * channels + 2 * channels * (9 * channels + 1) + CLASSES * (2 * channels + 1)  # of conv, the least
    return _of_parameter(spec.momentum) * parameters + of_steps


def _of_parameter(momentum: float) -> int:
    """Return the bytes of a parameter: its value, its gradient and, with momentum, its velocity."""
    return (3 if momentum else 2) * _FLOAT


def check_memory(specs: Iterable[Spec]) -> None:
    """Refuse specs that need more memory than this machine has.

    Raises:
        SpecError: one of them does.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for spec in specs:
        if (least := least_memory(spec)) > memory:
            raise SpecError(
                f"a training of {spec.variant} with these sizes and {spec.steps:,} steps takes at least "
                f"{_readable(least)} of memory, and this machine has {_readable(memory)}; choose smaller ones"
            )


def _readable(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} {_UNITS[-1]}"
