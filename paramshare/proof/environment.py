"""The differences between the environment of a run and this one, and whether they can change bits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from paramshare.provenance import provenance

__all__ = ["Difference", "differences"]

# The rest changes no number: other libraries only store numbers, and a commit that changes numbers must be reported.
_CHANGES_BITS: Final = ("version.python", "version.numpy", "version.torch", "hardware.cpu", "threads")
_CHANGES_BITS_ELSEWHERE: Final = (*_CHANGES_BITS, "hardware.accelerators")
_VARIABLES: Final = "environment."  # these variables change roundings
_SHOWN: Final = ("version.", "hardware.", "threads", _VARIABLES)
_UNKNOWN: Final = "not recorded"
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between the environment of a run and this one.

    Args:
        name: a name of `provenance()`, or `threads`, `engine`.
        run: the value of the run.
        here: the value of this environment.
        explains: whether the difference can change the bits of a result.
    """

    name: str
    run: str
    here: str
    explains: bool

    def as_dict(self) -> dict[str, object]:
        """Return the difference as plain data."""
        return {"name": self.name, "run": self.run, "here": self.here, "explains": self.explains}


def differences(recorded: Mapping[str, str], device: str, threads: int) -> tuple[Difference, ...]:
    """Return the differences between a run's provenance and this environment, in the order of `provenance()`.

    Args:
        recorded: the provenance of the run, by the names of `provenance()`, and `threads`.
        device: the device of the run.
        threads: the number of torch's threads when the run was trained again.
    """
    here = {**provenance(), "threads": str(threads)}
    decisive = _CHANGES_BITS if device == "cpu" else _CHANGES_BITS_ELSEWHERE
    names = [name for name in dict.fromkeys((*here, *recorded)) if name.startswith(_SHOWN)]
    is_complete = any(name.startswith(_SHOWN[:2]) for name in recorded)
    lines = [("git.commit", _source(recorded), _source(here))]
    lines += [(name, recorded.get(name, _NONE if is_complete else _UNKNOWN), here.get(name, _NONE)) for name in names]
    return tuple(
        Difference(name, theirs, ours, (name in decisive or name.startswith(_VARIABLES)) and theirs != _UNKNOWN)
        for name, theirs, ours in lines
        if theirs != ours
    )


def _source(environment: Mapping[str, str]) -> str:
    """Return the commit, and whether there were uncommitted changes."""
    commit = environment.get("git.commit", _UNKNOWN)
    return f"{commit} with uncommitted changes" if environment.get("git.dirty") == "true" else commit
