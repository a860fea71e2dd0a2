"""What a sweep says when it ends: its groups in numbers, the table of its runs, a note. Plain data and text."""

from collections.abc import Mapping, Sequence

from paramshare.plots import Band
from paramshare.sweep.chunks import Row
from paramshare.sweep.spec import SweepSpec
from paramshare.training.spec import TrainSpec

__all__ = ["counts_of", "group_of", "note_of", "sweep_name", "table_of"]

_ROWS_IN_NOTE = 40  # MLflow cuts a tag at 8000 characters, silently


def sweep_name(spec: SweepSpec, devices: Sequence[str]) -> str:
    """What a person calls the sweep: `shared seeds 0:10 on cpu`."""
    return f"{spec.variant} seeds {spec.seeds} on {', '.join(devices)}"


def group_of(spec: TrainSpec) -> str:
    """The group that a run is summed up in: `shared-cpu`. Safe in the name of a metric."""
    return f"{spec.variant}-{spec.device.replace(':', '')}"


def counts_of(rows: Sequence[Row]) -> dict[str, float]:
    """How many runs the sweep has, by what became of them."""
    return {
        "runs/planned": len(rows),
        "runs/finished": sum(row.status == "FINISHED" for row in rows),
        "runs/failed": sum(row.status == "FAILED" for row in rows),
        "runs/reused": sum(row.reused for row in rows),
    }


def table_of(rows: Sequence[Row]) -> dict[str, list[object]]:
    """A row a run, by column."""
    return {
        "seed": [row.spec.seed for row in rows],
        "device": [row.spec.device for row in rows],
        "variant": [row.spec.variant for row in rows],
        "final_loss": [row.final_loss for row in rows],
        "seconds": [round(row.seconds, 3) for row in rows],
        "status": [row.status for row in rows],
        "reused": [row.reused for row in rows],
        "run_id": [row.run_id for row in rows],
    }


def note_of(spec: SweepSpec, rows: Sequence[Row], bands: Mapping[str, Band], experiment_id: str) -> str:
    """The sweep in Markdown: what was asked, what came out by group, the runs.

    Args:
        bands: the curves of each group that has finished runs.
        experiment_id: for the links to the runs, relative to MLflow's pages.
    """
    counts = counts_of(rows)
    groups = [
        f"| {name} | {band.n} | {band.median[-1]:.4g} | {band.lower[-1]:.4g} – {band.upper[-1]:.4g} |"
        for name, band in bands.items()
    ]
    runs = [
        f"| {row.spec.variant} | {row.spec.device} | {row.spec.seed} | {_loss(row)} | {row.seconds:.2f} "
        f"| [{row.run_id[:8]}](#/experiments/{experiment_id}/runs/{row.run_id}) | {_remark(row)} |"
        for row in rows[:_ROWS_IN_NOTE]
    ]
    rest = len(rows) - len(runs)
    return "\n".join(
        [
            f"DynamicNet ({spec.batch_size} × {spec.input_size} → {spec.hidden_size} → {spec.output_size}), "
            f"{spec.steps} steps, learning rate {spec.learning_rate:g}, momentum {spec.momentum:g}. "
            f"**{counts['runs/finished']:.0f} of {counts['runs/planned']:.0f} runs finished** "
            f"({counts['runs/reused']:.0f} re-used, {counts['runs/failed']:.0f} failed).",
            "",
            "| group | n | last step's loss, median | quartiles |",
            "| :-- | --: | --: | :-: |",
            *groups,
            "",
            "The last step's loss depends on the depth that it drew; `final/loss_depth_0` to `_3` of a run do not.",
            "",
            "| variant | device | seed | final loss | seconds | run | |",
            "| :-- | :-- | --: | --: | --: | :-- | :-- |",
            *runs,
            *([f"\n… and {rest} more: all of them in the artifact `seeds.json`."] if rest else []),
        ]
    )


def _loss(row: Row) -> str:
    return "–" if row.final_loss is None else f"{row.final_loss:.4g}"


def _remark(row: Row) -> str:
    return row.error or ("re-used" if row.reused else "")
