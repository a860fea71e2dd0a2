"""Format columns, bytes and factors as plain text."""

from collections.abc import Sequence
from typing import Final

__all__ = ["aligned", "readable_bytes", "readable_factor"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Return rows as columns of the minimum width; the first `left` columns are flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def readable_bytes(number: int) -> str:
    """Format a number of bytes: `97.5 MiB`."""
    size, unit = float(number), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{number} B" if unit == 0 else f"{size:,.1f} {_UNITS[unit]}"


def readable_factor(factor: float | None) -> str:
    """Format a sharing factor: `22,201.0`; a dash for None."""
    return "–" if factor is None else f"{factor:,.1f}"
