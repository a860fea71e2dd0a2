"""The result of reproducing runs, as plain data, as text and in Markdown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paramshare.markdown import plain, table
from paramshare.proof.compare import MEASURES, Comparison, Deviation, within
from paramshare.proof.environment import Difference
from paramshare.recipes.spec import Spec
from paramshare.tracking.read.run_view import RunView

__all__ = ["Reproduction", "Verification", "VerifyRow"]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The comparison of a run in the store with a new training of its spec.

    Args:
        run_id: the id of the run in MLflow.
        spec: the spec of the run.
        run_engine, engine: the engine of the run, and the engine of the new training.
        compared: the comparison of the run with the new training.
        bit_flips: the deviations of trainings with one flipped bit from a training without; empty if the run is bitwise
            equal.
        differences: the differences between the run's environment and this one.
    """

    run_id: str
    spec: Spec
    run_engine: str
    engine: str
    compared: Comparison
    bit_flips: tuple[Deviation, ...]
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Return whether every number is bitwise equal."""
        return self.compared.equal

    @property
    def within(self) -> bool:
        """Return whether the deviation is within the one-bit control."""
        if self.equal:
            return True
        return not self.compared.depths and within(self.compared.deviation, self.bit_flips)

    @property
    def explained(self) -> bool:
        """Return whether a difference of the environments or of the arithmetic can change bits."""
        return any(difference.explains for difference in self.differences)

    @property
    def failed(self) -> bool:
        """Return whether the run is not reproduced: neither bitwise equal, nor within the control and explained."""
        return not (self.equal or (self.within and self.explained))

    @property
    def label(self) -> str:
        """The name of the run for people: `shared seed 3 on cpu`."""
        return f"{self.spec.variant} seed {self.spec.seed} on {self.spec.device}"

    @property
    def verdict(self) -> str:
        """The verdict in one line."""
        if self.equal:
            return "bitwise equal"
        compared = self.compared
        if compared.first is not None:
            place = f"from step {compared.first} on"
        else:
            place = f"in the {'final losses' if compared.final_metrics else 'weights'}"
        verdict = f"differs {place}, {'within' if self.within else 'beyond'} the one-bit control"
        return f"{verdict}, unexplained" if self.within and self.failed else verdict

    def lines(self) -> tuple[str, ...]:
        """Return the whole result as lines of text."""
        compared = self.compared
        lines = [f"run {self.run_id}: {self.label}, by {self.run_engine}; trained again by {self.engine}", self.verdict]
        if self.equal:
            without = "; the run has no model, so its weights were not compared"
            weights = without if compared.weights is None else ", its weights"
            lines.append(f"compared: {compared.steps} losses and depths, the trained net's losses{weights}")
        else:
            lines += self._deviations()
        return (*lines, *_environment_lines(self.differences))

    def _deviations(self) -> list[str]:
        """Return the first step that differs, the counts of differing numbers and the deviations as lines of text."""
        compared, lines = self.compared, []
        if compared.first_losses:
            run, here = compared.first_losses
            lines.append(f"step {compared.first}: {run:.9g} in the run, {here:.9g} here")
        weights = "no weights (no model)" if compared.weights is None else f"{compared.weights:,} weights"
        return [
            *lines,
            f"differing: {compared.losses} of {compared.steps} losses, {compared.depths} depths, "
            f"{compared.final_metrics} of the trained net's losses, {weights}",
            f"largest deviation: {_text_of(compared.deviation)}",
            f"one-bit control:   {_ranges_of(self.bit_flips)}",
        ]

    def as_dict(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        compared = self.compared
        first = [loss if math.isfinite(loss) else None for loss in compared.first_losses or ()]
        return {
            "run_id": self.run_id,
            "spec": self.spec.as_dict(),
            "reproduced": not self.failed,
            "equal": self.equal,
            "verdict": self.verdict,
            "run_engine": self.run_engine,
            "engine": self.engine,
            "first_step": compared.first,
            "first_losses": dict(zip(("run", "here"), first, strict=True)) if first else None,
            "differing": {
                "losses": compared.losses,
                "depths": compared.depths,
                "finals": compared.final_metrics,
                "weights": compared.weights,
            },
            "deviation": compared.deviation.as_dict(),
            "within_control": self.within,
            "control": [flip.as_dict() for flip in self.bit_flips],
            "environment": [difference.as_dict() for difference in self.differences],
        }


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """The result of reproducing one run of a sample.

    Args:
        member: the run.
        reproduction: the comparison with the new training. Defaults to None: the run could not be trained again.
        error: the reason for that, in one line. Defaults to empty: the run was trained again.
    """

    member: RunView
    reproduction: Reproduction | None = None
    error: str = ""

    @property
    def failed(self) -> bool:
        """Return whether the run is not reproduced."""
        return self.reproduction is None or self.reproduction.failed

    @property
    def verdict(self) -> str:
        """The verdict, or the error, in one line."""
        return self.error if self.reproduction is None else self.reproduction.verdict

    def as_dict(self) -> dict[str, object]:
        """Return the row as plain data."""
        member = self.member
        return {
            "seed": member.seed,
            "variant": member.variant,
            "device": member.device,
            "run_id": member.run_id,
            "reproduced": not self.failed,
            "verdict": self.verdict,
            "reproduction": self.reproduction and self.reproduction.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of reproducing a sample of a sweep's runs.

    Args:
        experiment_id, parent_run_id: the ids of the sweep in MLflow.
        name: the name of the sweep.
        of: the number of FINISHED runs of the sweep.
        rows: a row for each run of the sample.
    """

    experiment_id: str
    parent_run_id: str
    name: str
    of: int
    rows: tuple[VerifyRow, ...]

    @property
    def failed(self) -> tuple[VerifyRow, ...]:
        """The runs that are not reproduced."""
        return tuple(row for row in self.rows if row.failed)

    @property
    def summary(self) -> str:
        """The result in one line: `3 of 3 runs reproduced, a sample of the 20 of shared seeds 0:20 on cpu`."""
        reproduced = len(self.rows) - len(self.failed)
        return f"{reproduced} of {len(self.rows)} runs reproduced, a sample of the {self.of} of {self.name}"

    def lines(self) -> tuple[str, ...]:
        """Return the results of the runs that are not bitwise equal as lines of text."""
        unequal = [row.reproduction for row in self.rows if row.reproduction and not row.reproduction.equal]
        return tuple(line for reproduction in unequal for line in (*reproduction.lines(), ""))

    def as_dict(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {
            "experiment_id": self.experiment_id,
            "parent_run_id": self.parent_run_id,
            "sweep": self.name,
            "of": self.of,
            "reproduced": not self.failed,
            "runs": [row.as_dict() for row in self.rows],
        }

    def markdown(self, url_of: Callable[[str], str]) -> str:
        """Return a Markdown table with a row and a link for each run, and the differences of the environments.

        Args:
            url_of: a function that returns the address of a run's page by its id.
        """
        head = ("seed", "variant", "device", "run", "verdict")
        return "\n\n".join(
            [
                f"**{plain(self.summary)}**",
                table(head, (_cells(row, url_of) for row in self.rows), left=len(head)),
                *_environment(self.rows),
            ]
        )


def _text_of(deviation: Deviation) -> str:
    largest, rms, final = (f"{getattr(deviation, name):.1e}" for name in MEASURES)
    return f"{largest} (|log ratio| of losses), root mean square {rms}, trained net {final}"


def _ranges_of(bit_flips: Sequence[Deviation]) -> str:
    """Return the range of each measure over the flips."""
    ranges = [
        f"{min(values):.1e} to {max(values):.1e}"
        for values in ([getattr(flip, name) for flip in bit_flips] for name in MEASURES)
    ]
    largest, rms, final = ranges
    return f"{largest}, root mean square {rms}, trained net {final} (n = {len(bit_flips)} flips)"


def _environment_lines(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return ["environment: the same as the run's"]
    width = max(len(difference.name) for difference in differences)
    return [
        "environment, the run's and this one:",
        *(f"  {difference.name:<{width}}  {difference.run} -> {difference.here}" for difference in differences),
    ]


def _cells(row: VerifyRow, url_of: Callable[[str], str]) -> tuple[str, ...]:
    member = row.member
    verdict = f"**{plain(row.verdict)}**" if row.failed else plain(row.verdict)
    link = f"[{member.run_id[:8]}]({url_of(member.run_id)})"
    return str(member.seed), plain(member.variant), plain(member.device), link, verdict


def _environment(rows: tuple[VerifyRow, ...]) -> list[str]:
    """Return a Markdown table of the differences from the environment of any run, each once."""
    differences = dict.fromkeys(
        difference for row in rows if row.reproduction for difference in row.reproduction.differences
    )
    if not differences:
        return []
    cells = ((plain(difference.name), plain(difference.run), plain(difference.here)) for difference in differences)
    return ["Differences of the environments:", table(("name", "run", "here"), cells, left=3)]
