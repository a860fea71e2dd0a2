"""What trying to reproduce runs came to, as plain data, in a sentence, and in Markdown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paramshare.markdown import plain, table
from paramshare.proof.compare import MEASURES, Comparison, Deviation, within
from paramshare.proof.environment import Difference
from paramshare.tracking.read.run_view import RunView
from paramshare.training.targets import Spec

__all__ = ["Reproduction", "Verification", "VerifyRow"]


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A run that was trained again, held against what the store says of it.

    Args:
        run_id: MLflow's id of the run.
        spec: what the run trained.
        run_engine, engine: what computed the run, and what computed it again.
        compared: the run held against the new training.
        control: how far trainings with one flipped bit are from the one without; empty where none was needed.
        differences: what of the run's environment is otherwise here.
    """

    run_id: str
    spec: Spec
    run_engine: str
    engine: str
    compared: Comparison
    control: tuple[Deviation, ...]
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether every number is the same, bit for bit."""
        return self.compared.equal

    @property
    def within(self) -> bool:
        """Whether the losses are no further from the run's than a flipped bit may take them."""
        if self.equal:
            return True
        return not self.compared.depths and within(self.compared.deviation, self.control)

    @property
    def explained(self) -> bool:
        """Whether something differs from the run's environment, or its arithmetic, that can change bits."""
        return any(difference.explains for difference in self.differences)

    @property
    def failed(self) -> bool:
        """Whether the run is not reproduced: not to the bit, and not as far as that can be asked for here."""
        return not (self.equal or (self.within and self.explained))

    @property
    def label(self) -> str:
        """Which run: `shared seed 3 on cpu`."""
        return f"{self.spec.variant} seed {self.spec.seed} on {self.spec.device}"

    @property
    def verdict(self) -> str:
        """What came out, in a line."""
        if self.equal:
            return "bitwise equal"
        compared = self.compared
        if compared.first is not None:
            said = f"differs from step {compared.first} on"
        else:
            said = f"differs in the {'final losses' if compared.finals else 'weights'}"
        said += f", {'within' if self.within else 'beyond'} the one-bit control"
        return f"{said}, unexplained" if self.within and self.failed else said

    def lines(self) -> tuple[str, ...]:
        """All that came out, for a person."""
        compared = self.compared
        lines = [f"run {self.run_id}: {self.label}, by {self.run_engine}; trained again by {self.engine}", self.verdict]
        if self.equal:
            without = "; the run has no model, its weights were not compared"
            weights = without if compared.weights is None else ", its weights"
            lines.append(f"all of them: {compared.steps} losses and depths, the trained net's losses{weights}")
        else:
            lines += self._far()
        return (*lines, *_environment_lines(self.differences))

    def _far(self) -> list[str]:
        """Where and how far the training is from the run."""
        compared, lines = self.compared, []
        if compared.first_losses:
            run, here = compared.first_losses
            lines.append(f"step {compared.first}: {run:.9g} in the run, {here:.9g} here")
        weights = "it has no model" if compared.weights is None else f"{compared.weights:,} of its weights"
        return [
            *lines,
            f"differing: {compared.losses} of {compared.steps} losses, {compared.depths} depths, "
            f"{compared.finals} of the trained net's losses, {weights}",
            f"largest deviation: {_deviation(compared.deviation)}",
            f"one-bit control:   {_control(self.control)}",
        ]

    def as_dict(self) -> dict[str, object]:
        """What `--json` prints."""
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
            "differing": {name: getattr(compared, name) for name in ("losses", "depths", "finals", "weights")},
            "deviation": compared.deviation.as_dict(),
            "within_control": self.within,
            "control": [one.as_dict() for one in self.control],
            "environment": [difference.as_dict() for difference in self.differences],
        }


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """What became of one run of a sample.

    Args:
        member: the run.
        reproduction: what training it again came to; None where it could not be.
        error: why it could not be, in a line; empty where it could.
    """

    member: RunView
    reproduction: Reproduction | None = None
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run is not reproduced."""
        return self.reproduction is None or self.reproduction.failed

    @property
    def verdict(self) -> str:
        """What came out, in a line."""
        return self.error if self.reproduction is None else self.reproduction.verdict

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
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
    """What became of a sample of a sweep's runs.

    Args:
        experiment_id, parent_run_id: MLflow's ids, of the sweep.
        name: what a person calls the sweep.
        of: how many FINISHED runs the sweep has.
        rows: one for every run of the sample.
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
        """What came out, in a line: `3 of 3 runs reproduced, of the 20 of shared seeds 0:20 on cpu`."""
        reproduced = len(self.rows) - len(self.failed)
        return f"{reproduced} of {len(self.rows)} runs reproduced, a sample of the {self.of} of {self.name}"

    def lines(self) -> tuple[str, ...]:
        """All there is to say of the runs that did not come out to the bit, for a person."""
        unequal = [row.reproduction for row in self.rows if row.reproduction and not row.reproduction.equal]
        return tuple(line for one in unequal for line in (*one.lines(), ""))

    def as_dict(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "experiment_id": self.experiment_id,
            "parent_run_id": self.parent_run_id,
            "sweep": self.name,
            "of": self.of,
            "reproduced": not self.failed,
            "runs": [row.as_dict() for row in self.rows],
        }

    def markdown(self, url_of: Callable[[str], str]) -> str:
        """A row a run with a link to it, and what of its environment is otherwise here.

        Args:
            url_of: the address of a run's page, by its id.
        """
        head = ("seed", "variant", "device", "run", "verdict")
        return "\n\n".join(
            [
                f"**{plain(self.summary)}**",
                table(head, (_cells(row, url_of) for row in self.rows), left=len(head)),
                *_environment(self.rows),
            ]
        )


def _deviation(one: Deviation) -> str:
    return f"{one.largest:.1e} (|log ratio| of losses), root mean square {one.rms:.1e}, trained net {one.final:.1e}"


def _control(control: Sequence[Deviation]) -> str:
    """The range of each measure over the flips."""
    ranges = [
        f"{min(values):.1e} to {max(values):.1e}"
        for values in ([getattr(one, name) for one in control] for name in MEASURES)
    ]
    largest, rms, final = ranges
    return f"{largest}, root mean square {rms}, trained net {final} (n = {len(control)} flips)"


def _environment_lines(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return ["the environment is the run's"]
    width = max(len(one.name) for one in differences)
    return [
        "not as it was when the run was trained:",
        *(f"  {one.name:<{width}}  {one.run} -> {one.here}" for one in differences),
    ]


def _cells(row: VerifyRow, url_of: Callable[[str], str]) -> tuple[str, ...]:
    member = row.member
    verdict = f"**{plain(row.verdict)}**" if row.failed else plain(row.verdict)
    link = f"[{member.run_id[:8]}]({url_of(member.run_id)})"
    return str(member.seed), plain(member.variant), plain(member.device), link, verdict


def _environment(rows: tuple[VerifyRow, ...]) -> list[str]:
    """What differs from the environment of any of the runs; each difference once."""
    found = dict.fromkeys(one for row in rows if row.reproduction for one in row.reproduction.differences)
    if not found:
        return []
    cells = ((plain(one.name), plain(one.run), plain(one.here)) for one in found)
    return ["What is not as it was when they were trained:", table(("what", "then", "here"), cells, left=3)]
