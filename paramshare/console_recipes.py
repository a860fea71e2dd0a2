"""Print recipes for a terminal: lists, one recipe, and the result of a check."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from paramshare.console import stdout_console
from paramshare.sharing.text import readable_bytes
from paramshare.tables import print_table

if TYPE_CHECKING:
    from paramshare.recipes.checking.check import CheckReport, VariantCheck
    from paramshare.recipes.describe import RecipeInfo

__all__ = ["print_check", "print_recipe", "print_recipes"]


def print_recipes(lines: Mapping[str, str]) -> None:
    """Print a line for each recipe, and how to see more of one.

    Args:
        lines: a line about each recipe by name.
    """
    _print_table(("recipe", ""), list(lines.items()))
    _print_lines(
        "",
        "options of one:    paramshare recipes NAME",
        "one of your own:   paramshare init my_recipe.py",
    )


def print_recipe(info: "RecipeInfo", reference: str) -> None:
    """Print the options, the variants and the metrics of a recipe.

    Args:
        reference: the recipe as commands name it.
    """
    _print_lines(info.line, "")
    rows = [(f"--{option.name.replace('_', '-')}", option.type, str(option.default)) for option in info.options]
    texts = [option.description for option in info.options]
    _print_table(("option", "type", "default", ""), [(*row, text) for row, text in zip(rows, texts, strict=True)])
    _print_lines("")
    _print_table(("variant", ""), list(info.variants.items()))
    _print_lines("")
    _print_table(("metric", "better", ""), info.metrics)
    _print_lines("", f"to train it: paramshare study {reference} --seeds 0:10")


def print_check(report: "CheckReport", _: str, reference: str) -> None:
    """Print a row for each variant, what was checked, the cost of a sweep, and each problem in a line with !!.

    Args:
        reference: the recipe as commands name it.
    """
    if report.variants:
        head = ("variant", "parameters", "MACs", "memory", "difference", "first loss", "seconds a training")
        _print_table(head, [_cells(variant) for variant in report.variants])
        _print_lines("")
    for note in report.notes:
        _print_lines(f"    {note}")
    for problem in report.problems:
        _print_lines(f"!!  {problem}")
    if report.failed:
        return
    device, changed = report.device, any(variant.difference is not None for variant in report.variants)
    lines = ["ok  every variant gets the same data, and begins as the same function"] if changed else []
    lines += [
        f"ok  seed {report.seed}, trained twice on {device}, gives the same losses, to the bit",
        "ok  evaluate returns every metric: "
        + ", ".join(f"{name} {value:.4g}" for name, value in report.variants[0].metrics.items()),
    ]
    cost = "not known" if report.sweep_seconds is None else f"about {_readable_seconds(report.sweep_seconds)}"
    lines.append(f"    {report.seeds} seeds of every variant on this machine's {device}: {cost}")
    _print_lines(*lines, "", f"to train it: paramshare study {reference} --seeds 0:{report.seeds}")


def _cells(variant: "VariantCheck") -> tuple[str, ...]:
    return (
        variant.name,
        f"{variant.parameters:,}",
        "–" if variant.macs is None else f"{variant.macs:,}",
        readable_bytes(variant.bytes) + ("" if variant.state_known else " or more"),
        "–" if variant.difference is None else f"{variant.difference:.1g}",
        f"{variant.loss:.4g}",
        "–" if variant.seconds is None else f"{variant.seconds:.2g}",
    )


def _readable_seconds(seconds: float) -> str:
    """Format a duration: `12 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _print_lines(*lines: str) -> None:
    console = stdout_console()
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_table(head: tuple[str, ...], rows: "list[tuple[str, ...]] | tuple[tuple[str, ...], ...]") -> None:
    left = {0} if len(head) > 4 else set(range(len(head)))
    print_table(stdout_console(), head, rows, frozenset(left))
