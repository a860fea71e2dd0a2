"""Print tables in a terminal of any width: cells wrap between words, and rows become paragraphs if words do not fit.

Nothing is truncated: every number, seed and run id can be read and copied.
"""

import textwrap
from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_table"]

_GAP: Final = 1  # characters between two columns


def print_table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]], left: frozenset[int]) -> None:
    """Print a table; a paragraph for each row if the console is narrower than the words of the columns.

    A console that is not a terminal has no width of its own. The table is then as wide as its words need.

    Args:
        console: the console.
        head: the names of the columns. If the first name has several words, paragraphs show it once, as their title.
        rows: the cells of each row.
        left: the indices of the columns that are aligned left. The others are aligned right.
    """
    columns = list(zip(head, *rows, strict=True))
    least = [max(_longest_word(cell) for cell in column) for column in columns]
    fitting = sum(least) + _GAP * len(least)
    if console.is_terminal and fitting > console.width:
        for line in _paragraphs(head, rows, console.width):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    natural = [max(cell_len(cell) for cell in column) for column in columns]
    widths = _widths(natural, least, max(console.width, fitting) - _GAP * len(least))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for index, (name, width) in enumerate(zip(head, widths, strict=True)):
        table.add_column(Text(name), justify="left" if index in left else "right", overflow="fold", width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table, width=max(console.width, fitting), crop=False, soft_wrap=False)


def _longest_word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=0)


def _widths(natural: list[int], least: list[int], room: int) -> list[int]:
    """Return the width of each column. The widest columns are narrowed first, none below its longest word."""
    widths = list(natural)
    while sum(widths) > room:
        widest = max((index for index, width in enumerate(widths) if width > least[index]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _paragraphs(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the lines of a paragraph for each row: `seed 3; variant shared; device cpu; final loss 0.25`."""
    titled = len(head[0].split()) > 1
    lines = textwrap.wrap(head[0], width) if titled else []
    for row in rows:
        name = row[0] if titled else f"{head[0]} {row[0]}".strip()
        cells = "; ".join(f"{column} {cell}".strip() for column, cell in zip(head[1:], row[1:], strict=True) if cell)
        separator = ": " if titled else "; "
        lines += textwrap.wrap(f"{name}{separator}{cells}", width, subsequent_indent="  ", break_on_hyphens=False)
    return lines
