"""The report of a sweep: its name, its groups, the table of its runs and the note. Plain data and text."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from paramshare.bands import quartiles
from paramshare.recipes.metrics import LOSS
from paramshare.recipes.parts import Metric
from paramshare.recipes.spec import Spec
from paramshare.sweep.chunks import Row
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.display.urls import picture_url, run_url
from paramshare.tracking.tags import CURVES_FILE

__all__ = ["counts_of", "group_of", "note_of", "sweep_name", "table_of"]

_SEEDS_IN_NAME = 40  # characters
_ROWS_IN_NOTE = 40  # MLflow cuts a tag at 8000 characters, silently


def sweep_name(spec: SweepSpec, devices: Sequence[str]) -> str:
    """Return the name of a sweep, such as `shared, untied seeds 0:10 on cpu`. A long list of seeds is counted."""
    seeds = f"seeds {spec.seeds}" if len(spec.seeds) <= _SEEDS_IN_NAME else f"{len(spec.seed_list)} seeds"
    return f"{', '.join(spec.variant_list)} {seeds} on {', '.join(devices)}"


def group_of(spec: Spec) -> str:
    """Return the name of the group that a run belongs to, such as `shared-cpu`. It is valid in the name of a metric."""
    return f"{spec.variant}-{spec.device.replace(':', '')}"


def counts_of(rows: Sequence[Row]) -> dict[str, float]:
    """Return the numbers of runs of a sweep, by status."""
    return {
        "runs/planned": len(rows),
        "runs/finished": sum(row.status == "FINISHED" for row in rows),
        "runs/failed": sum(row.status == "FAILED" for row in rows),
        "runs/reused": sum(row.reused for row in rows),
        "runs/diverged": sum(row.diverged for row in rows),
    }


def table_of(rows: Sequence[Row]) -> dict[str, list[object]]:
    """Return the table of a sweep, a row for each run, by column."""
    names = dict.fromkeys(name for row in rows for name in row.final_metrics)
    return {
        "seed": [row.spec.seed for row in rows],
        "device": [row.spec.device for row in rows],
        "variant": [row.spec.variant for row in rows],
        **{name: [row.final_metrics.get(name) for row in rows] for name in names},
        LOSS: [row.final_loss for row in rows],
        "seconds": [round(row.seconds, 3) for row in rows],
        "status": [row.status for row in rows],
        "reused": [row.reused for row in rows],
        "diverged": [row.diverged for row in rows],
        "run_id": [row.run_id for row in rows],
    }


def note_of(spec: SweepSpec, rows: Sequence[Row], experiment_id: str, parent_run_id: str) -> str:
    """Return the note of a sweep in Markdown: the headline of each group, the curves, the options and the runs.

    Args:
        experiment_id, parent_run_id: the ids in the links, which are relative to MLflow's pages.
    """
    target = spec.trained
    headline = spec.headline
    counts = {name.removeprefix("runs/"): int(count) for name, count in counts_of(rows).items()}
    runs = [
        f"| {row.spec.variant} | {row.spec.device} | {row.spec.seed} | {_number(row.final_metrics.get(headline.name))} "
        f"| {_number(row.final_loss)} | {row.seconds:.2f} | {_link(row, experiment_id)} | {_remark(row)} |"
        for row in rows[:_ROWS_IN_NOTE]
    ]
    rest = len(rows) - len(runs)
    return "\n".join(
        [
            f"| {headline.description} | median over seeds | quartiles |",
            "| :-- | --: | :-: |",
            *_groups(rows, headline),
            "",
            f"![loss at every step, all seeds]({picture_url('', parent_run_id, CURVES_FILE)})",
            "",
            "*The loss of every step, on a log axis: the medians and quartiles over the seeds*",
            "",
            f"**{counts['finished']} of {counts['planned']} runs finished** ({counts['reused']} re-used, "
            f"{counts['failed']} failed{_diverged(counts['diverged'])}): {target.title}, "
            f"{_text_of(spec.run_options)}.",
            "",
            f"| variant | device | seed | {headline.label} | last step's loss | seconds | run | |",
            "| :-- | :-- | --: | --: | --: | --: | :-- | :-- |",
            *runs,
            *([f"\n… and {rest} more: all of them in the artifact `seeds.json`."] if rest else []),
        ]
    )


def _groups(rows: Sequence[Row], headline: Metric) -> list[str]:
    values = defaultdict(list)
    for row in rows:
        if row.final_metrics:
            values[group_of(row.spec)].append(row.final_metrics[headline.name])
    lines = []
    for group, group_values in values.items():
        lower, median, upper = quartiles(group_values)
        lines.append(f"| {group} (n = {len(group_values)}) | {median:.4g} | {lower:.4g} – {upper:.4g} |")
    return lines


def _text_of(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in options.items())


def _diverged(count: int) -> str:
    """Return the number of diverged runs as text; empty if there are none."""
    return f", {count} diverged" if count else ""


def _link(row: Row, experiment_id: str) -> str:
    return f"[{row.run_id[:8]}]({run_url('', experiment_id, row.run_id)})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _remark(row: Row) -> str:
    return row.error or ", ".join(["re-used"] * row.reused + ["diverged"] * row.diverged)
