"""What counting many models comes to: a row a model, and all of them in Markdown and as a figure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paramshare.counting.spec import ModelSpec
from paramshare.markdown import plain, table
from paramshare.sharing.report import MAIN_REGIMES, Counts
from paramshare.sharing.text import readable_factor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CountOutcome", "CountRow"]


@dataclass(frozen=True, slots=True)
class CountRow:
    """What became of one model.

    Args:
        model: what was asked for.
        run_id: MLflow's id of its run; empty where there is none.
        totals: what was counted; None where it failed.
        error: what went wrong, in a line; empty where nothing did.
    """

    model: ModelSpec
    run_id: str = ""
    totals: Counts | None = None
    error: str = ""

    @property
    def summary(self) -> str:
        """What came out, in a line."""
        if self.totals is None:
            return self.error
        return ", ".join(f"{getattr(self.totals, regime):,} {regime}" for regime in MAIN_REGIMES)

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
        totals = None if self.totals is None else self.totals.as_dict()
        return {**self.model.source, "run_id": self.run_id, "totals": totals, "error": self.error}


@dataclass(frozen=True, slots=True)
class CountOutcome:
    """What became of all of them.

    Args:
        experiment_id: MLflow's.
        rows: one for every model, in the order of asking.
    """

    experiment_id: str
    rows: tuple[CountRow, ...]

    @property
    def failed(self) -> tuple[CountRow, ...]:
        """The rows of the models that failed."""
        return tuple(row for row in self.rows if row.error)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"experiment_id": self.experiment_id, "models": [row.as_dict() for row in self.rows]}

    def markdown(self, url_of: Callable[[str], str]) -> str:
        """A table with the totals of each model, a link to its run, and what failed.

        Args:
            url_of: the address of a run's page, by its id.
        """
        head = ("model", "input", *MAIN_REGIMES, "sharing factor", "MACs", "run")
        failures = [f"- **{plain(row.model.label)}** failed: {plain(row.error)}" for row in self.failed]
        return "\n\n".join(
            [table(head, (_cells(row, url_of) for row in self.rows), left=2), "\n".join(failures)]
        ).strip()

    def figure(self) -> "Figure":
        """Bars on a log axis: shared, unshared and dense of each model that was counted."""
        from paramshare.plots import sharing_bars  # matplotlib, only for those who draw

        counted = [(row.model.label, row.totals) for row in self.rows if row.totals]
        bars = {regime: [getattr(totals, regime) for _, totals in counted] for regime in MAIN_REGIMES}
        return sharing_bars([label for label, _ in counted], bars, "parameters by regime")


def _cells(row: CountRow, url_of: Callable[[str], str]) -> tuple[str, ...]:
    asked = (plain(row.model.built), plain(row.model.sample))
    if row.totals is None:
        return (*asked, *("–" for _ in MAIN_REGIMES), "–", "–", "failed")
    counts = (f"{getattr(row.totals, regime):,}" for regime in MAIN_REGIMES)
    link = f"[{row.run_id[:8]}]({url_of(row.run_id)})"
    return (*asked, *counts, readable_factor(row.totals.factor), f"{row.totals.macs:,}", link)
