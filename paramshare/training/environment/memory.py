"""The memory that a training takes at least. Plain data: torch is not needed to ask."""

import os
from collections.abc import Iterable
from typing import Final

from paramshare.errors import SpecError
from paramshare.recipes.spec import Spec

__all__ = ["check_memory", "least_memory"]

_OF_A_STEP: Final = 16  # its depth or batch, and its loss
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def least_memory(spec: Spec) -> int:
    """Return the bytes of host memory that a training takes at least, on every device: draws are made there."""
    return spec.instance().least_memory(spec.variant) + _OF_A_STEP * spec.steps


def check_memory(specs: Iterable[Spec]) -> None:
    """Refuse specs that need more memory than this machine has.

    Raises:
        SpecError: one of them does.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for spec in {(spec.recipe, spec.variant, spec.options): spec for spec in specs}.values():
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
