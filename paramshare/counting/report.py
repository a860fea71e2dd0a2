"""The result of counting many models: a row for each model, in Markdown and as a figure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paramshare.counting.spec import ModelSpec
from paramshare.markdown import plain, table
from paramshare.sharing.report import MAIN_REGIMES, Counts
from paramshare.sharing.text import readable_factor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CountResult", "CountRow"]


@dataclass(frozen=True, slots=True)
class CountRow:
    """The result of counting one model.

    Args:
        model: the model and its input.
        run_id: the id of its run in MLflow. Defaults to empty: there is no run.
        totals: the counts of the whole model. Defaults to None: counting failed.
        error: the reason of a failure, in one line. Defaults to empty: there was none.
    """

    model: ModelSpec
    run_id: str = ""
    totals: Counts | None = None
    error: str = ""

    @property
    def summary(self) -> str:
        """The counts, or the reason of a failure, in one line."""
        if self.totals is None:
            return self.error
        return ", ".join(f"{getattr(self.totals, regime):,} {regime}" for regime in MAIN_REGIMES)

    def as_dict(self) -> dict[str, object]:
        """Return the row as plain data."""
        totals = None if self.totals is None else self.totals.as_dict()
        return {**self.model.source, "run_id": self.run_id, "totals": totals, "error": self.error}


@dataclass(frozen=True, slots=True)
class CountResult:
    """The result of counting many models.

    Args:
        experiment_id: the id of the experiment in MLflow.
        rows: a row for each model, in the order of the spec.
    """

    experiment_id: str
    rows: tuple[CountRow, ...]

    @property
    def failed(self) -> tuple[CountRow, ...]:
        """The rows of the models that could not be counted."""
        return tuple(row for row in self.rows if row.error)

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {"experiment_id": self.experiment_id, "models": [row.as_dict() for row in self.rows]}

    def markdown(self, url_of: Callable[[str], str]) -> str:
        """Return a Markdown table of the counts with a link to each run, and a list of the failures.

        Args:
            url_of: a function that returns the address of a run's page by its id.
        """
        head = ("model", "input", *MAIN_REGIMES, "sharing factor", "MACs", "run")
        failures = [f"- **{plain(row.model.label)}** failed: {plain(row.error)}" for row in self.failed]
        return "\n\n".join(
            [table(head, (_cells(row, url_of) for row in self.rows), left=2), "\n".join(failures)]
        ).strip()

    def figure(self) -> "Figure":
        """Draw bars on a log axis: the shared, unshared and dense parameters of each counted model."""
        from paramshare.plots import sharing_bars  # imports matplotlib

        counted = [(row.model.label, row.totals) for row in self.rows if row.totals]
        bars = {regime: [getattr(totals, regime) for _, totals in counted] for regime in MAIN_REGIMES}
        return sharing_bars([label for label, _ in counted], bars, "parameters by regime")


def _cells(row: CountRow, url_of: Callable[[str], str]) -> tuple[str, ...]:
    names = (plain(row.model.built), plain(row.model.sample))
    if row.totals is None:
        return (*names, *("–" for _ in MAIN_REGIMES), "–", "–", "failed")
    counts = (f"{getattr(row.totals, regime):,}" for regime in MAIN_REGIMES)
    link = f"[{row.run_id[:8]}]({url_of(row.run_id)})"
    return (*names, *counts, readable_factor(row.totals.factor), f"{row.totals.macs:,}", link)
