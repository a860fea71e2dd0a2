"""A limit on loops that wait for a value: `while not done.all():` on data, rejection sampling.

A value that is not known is guessed, each time alike, so that such a loop would never end.
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

__all__ = ["MOST_GUESSES", "EndlessError", "GuessLimit"]

MOST_GUESSES: Final = 10_000
"""The maximum number of guesses for one line of code within one run of its function."""

_OWN: Final = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parents[2], Path(torch.__file__).parent))
"""The folders of `paramshare.sharing` and of torch; all other code is the model's."""


class EndlessError(SpecError):
    """A loop of a model that may never end without the values that it waits for."""


class GuessLimit:
    """The guesses of one pass by the line of code that asked for them."""

    def __init__(self) -> None:
        self._asked: Counter[tuple[FrameType, int]] = Counter()

    def count(self, place: str) -> None:
        """Count a guess.

        Args:
            place: who asked for it, in words.

        Raises:
            EndlessError: one line has asked more than `MOST_GUESSES` times within one run of its function.
        """
        frame = next(_callers(), None)
        if frame is None:
            return
        asked = (frame, frame.f_lineno)  # the frame itself: its address alone would be used again
        self._asked[asked] += 1
        if self._asked[asked] > MOST_GUESSES:
            raise EndlessError(
                f"{place} waits in line {frame.f_lineno} of {_name(frame.f_code)} for a value that is not known "
                f"without the data ({MOST_GUESSES:,} guesses): the loop may never end; bound its number of steps"
            )


def _callers() -> Iterator[FrameType]:
    """Yield the frames of the model's own code, the innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_OWN):
            yield frame
        frame = frame.f_back


def _name(code: CodeType) -> str:
    return Path(code.co_filename).name
