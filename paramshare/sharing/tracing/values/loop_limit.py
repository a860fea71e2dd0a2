"""Stop loops that wait for an unknown value, such as `while not done.all():` on data, or rejection sampling.

Every read of an unknown value returns the same assumption, so such a loop would never end.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import torch

from paramshare.errors import SpecError

__all__ = ["MAX_READS", "EndlessLoopError", "LoopLimit", "is_model_code"]

MAX_READS: Final = 10_000
"""The maximum number of unknown values that one line of code may read within one run of its function."""

_OWN: Final = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parents[2], Path(torch.__file__).parent))
"""The folders of `paramshare.sharing` and of torch; all other code is the model's."""


class EndlessLoopError(SpecError):
    """An error for a loop that may never end, since it waits for an unknown value."""


class LoopLimit:
    """The number of unknown values that each line of code has read in one pass."""

    def __init__(self) -> None:
        self._reads: Counter[tuple[FrameType, int]] = Counter()

    def count(self, place: str) -> None:
        """Count the read of an unknown value.

        Args:
            place: the module that reads the value, in words.

        Raises:
            EndlessLoopError: one line has read more than `MAX_READS` values within one run of its function.
        """
        frame = next(_callers(), None)
        if frame is None:
            return
        line = (frame, frame.f_lineno)  # the frame, not its id: a later frame may have the same id
        self._reads[line] += 1
        if self._reads[line] > MAX_READS:
            raise EndlessLoopError(
                f"{place} waits in line {frame.f_lineno} of {_name(frame.f_code)} for a value that is not known "
                f"without the data ({MAX_READS:,} reads): the loop may never end; bound its number of steps"
            )


def is_model_code(code: CodeType) -> bool:
    """Return whether code is neither of torch nor of `paramshare.sharing`."""
    return not code.co_filename.startswith(_OWN)


def _callers() -> Iterator[FrameType]:
    """Yield the stack frames of the model's code, the innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if is_model_code(frame.f_code):
            yield frame
        frame = frame.f_back


def _name(code: CodeType) -> str:
    return Path(code.co_filename).name
