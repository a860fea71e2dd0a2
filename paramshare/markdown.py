"""Write Markdown for the notes of runs and the reports of flows: escaped text and tables."""

import re
from collections.abc import Iterable, Sequence

__all__ = ["plain", "table"]

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def plain(text: str) -> str:
    """Return a text as one line, escaped so that Markdown shows it unchanged, also in a table's cell."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table.

    Args:
        head: the names of the columns, in Markdown.
        rows: the cells of each row, in Markdown.
        left: the number of columns that are aligned left; the others are aligned right. Defaults to 1.
    """
    rule = [":--" if index < left else "--:" for index in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
