"""Train a run again from its parameters in the store, and compare every number with the stored one."""

from dataclasses import replace
from functools import partial
from typing import Final

from paramshare.errors import SpecError, UsageError
from paramshare.proof.compare import Comparison, Deviation, Numbers, compare, deviation, within
from paramshare.proof.environment import Difference, differences
from paramshare.proof.report import Reproduction
from paramshare.recipes.loading.find import find_target, installed_recipes
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import Target
from paramshare.tracking.read.run_view import RunView, read_run
from paramshare.tracking.store import Store, StoreAddress, open_existing_store, store_failures
from paramshare.training.bit_flip import one_bit_control
from paramshare.training.choice import ENGINES, Choice, Engine, choose_engine
from paramshare.training.engines import train
from paramshare.training.environment.devices import choose_devices, find_devices
from paramshare.training.result import Result

__all__ = ["reproduce"]

_MIN_FLIPS: Final = 4
_MAX_FLIPS: Final = 64


def reproduce(run_id: str, address: StoreAddress, engine: Engine = "auto", recipe: str | None = None) -> Reproduction:
    """Train a seed's run again in this process and compare all numbers. Write nothing.

    Args:
        run_id: the id of the run in MLflow, or at least its first 8 digits.
        address: the store that holds the run.
        engine: the engine of the new training. Defaults to `auto`, the engine of the run.
        recipe: the reference of the run's recipe. Defaults to None: a built-in or an installed recipe. A path that a
            store names is never imported.

    Raises:
        UsageError: there is no such run, the run cannot be trained again, the engine cannot train it, or its device is
            not available.
        ServerError: the store failed.
    """
    with store_failures(address):
        return _reproduce(open_existing_store(address), run_id, engine, recipe)


def _reproduce(store: Store, run_id: str, engine: Engine = "auto", recipe: str | None = None) -> Reproduction:
    """Train a run of an open store again and compare all numbers; see `reproduce`.

    Raises:
        UsageError: see `reproduce`.
        MlflowException: the store failed.
    """
    run = read_run(store, run_id, partial(_code_of, run_id=run_id, recipe=recipe))
    choice = _choose(run, engine)
    choose_devices((run.spec.device,), find_devices())
    stored = Numbers.of_run(run, run.weights)
    result = train(choice.spec, choice.engine)
    compared = compare(stored, Numbers.of_result(result))
    return Reproduction(
        run_id=run.run_id,
        spec=run.spec,
        run_engine=run.engine,
        engine=choice.engine,
        compared=compared,
        bit_flips=() if compared.equal else _bit_flips(run.spec, compared),
        differences=(*_engine_difference(run, result), *differences(run.provenance, run.spec.device, result.threads)),
    )


def _code_of(target: Target, run_id: str, recipe: str | None) -> Target | None:
    """Return the recipe that trained a run, with its code; None for a built-in one.

    Raises:
        UsageError: the run was trained by another recipe, or by one that is not known here.
    """
    if target.built_in:
        if recipe is not None and recipe != target.name:
            raise UsageError(f"the run {run_id} was trained by {target.name}, not by {recipe}; leave --recipe out")
        return None
    if recipe is None and target.name not in installed_recipes():
        raise UsageError(
            f"the run {run_id} was trained by the recipe {target.name}, which is not installed here; pass its code "
            "with --recipe path/to/file.py:Class"
        )
    code = find_target(recipe or target.name)
    if (code.name, code.version) != (target.name, target.version):
        raise UsageError(
            f"the run {run_id} was trained by {target.name} of version {target.version}, and "
            f"{recipe or target.name} is {code.name} of version {code.version}; pass the recipe that trained it"
        )
    return code


def _choose(run: RunView, engine: Engine) -> Choice:
    """Return the engine that trains `run` again, and the spec with the arithmetic of this engine."""
    name = run.engine if engine == "auto" else engine
    if name not in ENGINES:
        raise UsageError(
            f"the run {run.run_id} was trained by the engine {name!r}, which this version does not have; choose "
            "another engine with --engine"
        )
    choice = choose_engine(replace(run.spec, arithmetic="direct"), name)
    if engine == "auto" and choice.spec != run.spec:
        raise SpecError(
            f"the run {run.run_id} was changed, or is of another version of paramshare: its arithmetic is "
            f"{run.spec.arithmetic}, but its engine is {name}"
        )
    return choice


def _engine_difference(run: RunView, result: Result) -> tuple[Difference, ...]:
    if result.engine == run.engine:
        return ()
    changes_bits = result.spec.arithmetic != run.spec.arithmetic
    return (Difference("engine", run.engine, result.engine, explains=changes_bits),)


def _bit_flips(spec: Spec, compared: Comparison) -> tuple[Deviation, ...]:
    """Return the deviation that each flipped bit causes. Flip 4 to 64 bits, until the run is within the control.

    Most flips change no clamp, and their deviation is that of rounding. Some flips open or close a clamp at a step, and
    their deviation is a thousand times larger. So a few flips often miss an effect that other roundings have.
    """
    trainings = map(Numbers.of_result, one_bit_control(spec, _MAX_FLIPS))
    unflipped = next(trainings)
    deviations: list[Deviation] = []
    for flipped in trainings:
        deviations.append(deviation(flipped, unflipped))
        if len(deviations) >= _MIN_FLIPS and (compared.depths or within(compared.deviation, deviations)):
            break
    return tuple(deviations)
