"""What differs between the environment that a run was trained in and this one, and what of it can change bits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from paramshare.provenance import provenance

__all__ = ["Difference", "differences"]

# The rest changes no number: other libraries only carry them, and a changed commit that does is what shall be found.
_CHANGES_BITS: Final = ("version.python", "version.numpy", "version.torch", "hardware.cpu", "threads")
_CHANGES_BITS_ELSEWHERE: Final = (*_CHANGES_BITS, "hardware.accelerators")
_VARIABLES: Final = "environment."  # each of them changes roundings
_SHOWN: Final = ("version.", "hardware.", "threads", _VARIABLES)
_UNKNOWN: Final = "not recorded"
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was.

    Args:
        name: of `provenance()`, or `threads`, `engine`.
        run: what the run says.
        here: what it is here.
        explains: whether it can change the bits of a result.
    """

    name: str
    run: str
    here: str
    explains: bool

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
        return {"name": self.name, "run": self.run, "here": self.here, "explains": self.explains}


def differences(recorded: Mapping[str, str], device: str, threads: int) -> tuple[Difference, ...]:
    """What of a run's provenance is otherwise here, in the order of `provenance()`.

    Args:
        recorded: the run's, by the names of `provenance()`, and `threads`.
        device: what it was trained on.
        threads: torch's, when it was trained again.
    """
    found = {**provenance(), "threads": str(threads)}
    decisive = _CHANGES_BITS if device == "cpu" else _CHANGES_BITS_ELSEWHERE
    names = [name for name in dict.fromkeys((*found, *recorded)) if name.startswith(_SHOWN)]
    whole = any(name.startswith(_SHOWN[:2]) for name in recorded)
    lines = [("git.commit", _source(recorded), _source(found))]
    lines += [(name, recorded.get(name, _NONE if whole else _UNKNOWN), found.get(name, _NONE)) for name in names]
    return tuple(
        Difference(name, theirs, ours, (name in decisive or name.startswith(_VARIABLES)) and theirs != _UNKNOWN)
        for name, theirs, ours in lines
        if theirs != ours
    )


def _source(found: Mapping[str, str]) -> str:
    """The commit and whether it had changes."""
    commit = found.get("git.commit", _UNKNOWN)
    return f"{commit} with changes" if found.get("git.dirty") == "true" else commit
