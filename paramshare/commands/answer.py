"""How a command with an outcome ends: it is printed, and the exit code tells whether something in it failed."""

import json
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, Protocol, TypeVar

__all__ = ["FAILED", "answer", "print_json"]

FAILED: Final = 1
"""The exit code where a run, a model or a check failed."""


class _Outcome(Protocol):
    @property
    def failed(self) -> object:
        """What failed: nothing, or something that is true."""

    def as_dict(self) -> dict[str, object]:
        """What `--json` prints."""


AnOutcome = TypeVar("AnOutcome", bound=_Outcome)


def print_json(answer: Mapping[str, object]) -> None:
    """Print one JSON object on a line of its own."""
    print(json.dumps(answer, allow_nan=False), flush=True)  # noqa: T201 - the answer itself


def answer(
    outcome: AnOutcome,
    as_json: bool,
    show: Callable[[AnOutcome, str], None],
    ui_command: str,
    *,
    waits: object = None,
) -> NoReturn:
    """Print what came out and leave with the exit code.

    Args:
        as_json: whether to print one JSON object.
        show: prints it for a person, with the command that opens MLflow's pages.
        waits: what is still to be done, if it is true: nothing in it failed, but not all is well.
    """
    if as_json:
        print_json(outcome.as_dict())
    else:
        show(outcome, ui_command)
    raise SystemExit(FAILED if outcome.failed or waits else 0)
