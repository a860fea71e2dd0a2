"""Lists of the command line as text: seeds, devices, variants."""

import re
from typing import Any, Final

from paramshare.errors import SpecError
from paramshare.recipes.spec_values import check_seed

__all__ = ["as_text", "list_pattern", "parse_list", "parse_seeds"]

_MOST_SEEDS: Final = 1_000_000
_SEED_PART: Final = re.compile(r"(\d+)(?::(\d+))?")


def list_pattern(item: str) -> str:
    """Return the pattern of a list for a form. The validators give better messages."""
    return rf"^\s*({item})\s*(,\s*({item})\s*)*$"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a list, in its order, each once.

    Args:
        text: `a:b` (b excluded), single values, and lists of both: `0:100`, `3,7,9`, `0:10,42`.

    Raises:
        SpecError: the text is not such a list, is empty, or has over a million seeds.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _SEED_PART.fullmatch(part.strip())
        shown = f"seeds {text!r}" + (f": {part.strip()!r}" if part != text else "")
        if not match:
            raise SpecError(f"{shown} is not valid; expected a list such as 0:100 or 3,7,9")
        begin = int(match[1])
        end = int(match[2]) if match[2] else begin + 1
        if begin >= end:
            raise SpecError(f"{shown} is empty; expected a:b with a < b, b excluded")
        if len(seeds) + end - begin > _MOST_SEEDS:
            raise SpecError(f"seeds {text!r}: more than {_MOST_SEEDS:,} seeds; sweep them in several parts")
        seeds.update(dict.fromkeys(range(begin, end)))
    check_seed(max(seeds))
    return tuple(seeds)


def parse_list(text: str) -> tuple[str, ...]:
    """Return the parts of a list, such as `cpu,cuda:0`, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def as_text(value: Any) -> Any:
    """Return a number or a list of a settings file as the text of the command line, such as `3` or `3,7,9`."""
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
