"""Markdown, as the notes of runs and the reports of flows have it: text that stays text, and tables."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["plain", "table"]

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def plain(text: str) -> str:
    """`text` as one line that is shown as it stands, in a table's cell too."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table.

    Args:
        head: the columns' names.
        rows: the cells, Markdown themselves.
        left: so many columns are flush left, the others flush right.
    """
    rule = [":--" if index < left else "--:" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
