"""Check a recipe before it is trained: build, count and try every variant. Plain data; nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from paramshare.errors import SpecError
from paramshare.recipes.checking.places import Places
from paramshare.recipes.checking.variant_trial import Trial, try_variant
from paramshare.recipes.parts import OptionValue
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import Target
from paramshare.training.environment.devices import cpu_cores
from paramshare.training.environment.torch_defaults import torch_defaults

__all__ = ["CheckReport", "VariantCheck", "check_recipe"]

_SEEDS: Final = 10


@dataclass(frozen=True, slots=True)
class VariantCheck:
    """A variant that could be tried.

    Args:
        parameters: the free parameters.
        macs: multiply-accumulates of one example, forward; None if they cannot be counted.
        bytes: of parameters, gradients and the optimizer's state.
        state_known: whether `bytes` includes the optimizer's state: `fit` has called `optimizer`.
        difference: the largest difference of an output from that of the model as built, for some training examples;
            None for the model as built and for a variant that sets options.
        loss: of the first step.
        metrics: by name, after the tried steps.
        seconds: of one training, estimated; None if the number of steps is not known.
    """

    name: str
    parameters: int
    macs: int | None
    bytes: int
    state_known: bool
    difference: float | None
    loss: float
    metrics: Mapping[str, float]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check.

    Args:
        recipe: the name of the recipe.
        options: that were checked.
        seed, device: of the trials.
        variants: those that could be tried.
        problems: a line for each problem, with file and line if they are known.
        notes: a line for each remark that is no problem.
        seeds: the number of seeds of `sweep_seconds`.
        sweep_seconds: of every variant with so many seeds on this machine, estimated; None if it is not known.
    """

    recipe: str
    options: Mapping[str, OptionValue]
    seed: int
    device: str
    variants: tuple[VariantCheck, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    seeds: int
    sweep_seconds: float | None

    @property
    def failed(self) -> bool:
        """Return whether there is a problem."""
        return bool(self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return asdict(self)


def check_recipe(
    target: Target, options: Mapping[str, object] | None = None, *, seed: int = 0, device: str = "cpu"
) -> CheckReport:
    """Build every variant of a recipe, count it, train some steps of it twice, evaluate it and estimate its cost.

    Exceptions of the recipe's code become problems of the report.

    Args:
        options: of the recipe, by name. Defaults to its defaults.

    Raises:
        SpecError: an option is not valid, or the target was read from a run.
        DeviceError: `device` is not the name of a device.
    """
    if target.recipe is None:
        raise SpecError(f"the code of the recipe {target.name} is not known here")
    specs = [target.new(seed=seed, variant=name, device=device, **(options or {})) for name in target.variants]
    places, problems, notes, trials = Places(target.recipe), list[str](), list[str](), list[Trial]()
    with torch_defaults():
        for spec in specs:
            try:
                trial = try_variant(spec)
            except Exception as error:  # whatever the recipe's code raises
                problems.append(f"{spec.variant}: {places.line(error)}")
                continue
            trials.append(trial)
            problems += [f"{spec.variant}: {problem}{places.of(method)}" for method, problem in trial.problems]
            notes += [f"{spec.variant}: {note}" for note in trial.notes]
    if not problems:
        problems += _other_data(trials, specs, places)
    checks = tuple(_variant_check(trial) for trial in trials)
    return CheckReport(
        recipe=target.name,
        options=dict(specs[0].options),
        seed=seed,
        device=specs[0].device,
        variants=checks,
        problems=tuple(_merged(problems, len(specs))),
        notes=tuple(_merged(notes, len(specs))),
        seeds=_SEEDS,
        sweep_seconds=_sweep_seconds(checks, len(specs), specs[0].device),
    )


def _variant_check(trial: Trial) -> VariantCheck:
    return VariantCheck(
        name=trial.variant,
        parameters=trial.parameters,
        macs=trial.macs,
        bytes=trial.bytes,
        state_known=trial.state_known,
        difference=trial.difference,
        loss=trial.losses[0],
        metrics=trial.metrics,
        seconds=trial.seconds,
    )


def _other_data(trials: Sequence[Trial], specs: Sequence[Spec], places: Places) -> list[str]:
    """Return a line for each variant that does not get the data of the first one although its options are the same."""
    options = {spec.variant: spec.instance().options for spec in specs}
    return [
        f"{trial.variant}: the data differ from those of {trials[0].variant}, so the variants cannot be compared "
        f"seed by seed{places.of('data')}"
        for trial in trials[1:]
        if trial.data != trials[0].data and options[trial.variant] == options[trials[0].variant]
    ]


def _merged(lines: Sequence[str], variants: int) -> list[str]:
    """Return the lines, those of every variant once and without its name."""
    texts = [line.partition(": ")[2] for line in lines]
    common = {text for text in texts if texts.count(text) == variants and variants > 1}
    return [*dict.fromkeys(text if text in common else line for line, text in zip(lines, texts, strict=True))]


def _sweep_seconds(checks: Sequence[VariantCheck], variants: int, device: str) -> float | None:
    """Return the estimated seconds of every variant with some seeds: on the CPU a process a core, else one by one."""
    seconds = [check.seconds for check in checks if check.seconds is not None]
    if len(seconds) < variants:
        return None
    together = min(cpu_cores(), _SEEDS * variants) if device == "cpu" else 1
    return sum(seconds) * _SEEDS / together
