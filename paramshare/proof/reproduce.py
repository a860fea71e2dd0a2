"""Train a run again from what the store says of it, and hold every number against what is there."""

from dataclasses import replace
from typing import Final

from paramshare.errors import SpecError, UsageError
from paramshare.proof.compare import Comparison, Deviation, Numbers, compare, deviation, within
from paramshare.proof.environment import Difference, differences
from paramshare.proof.report import Reproduction
from paramshare.recipes.loading import find_target, installed_recipes
from paramshare.recipes.target import RecipeTarget
from paramshare.tracking.read.run_view import RunView, read_run, view_of
from paramshare.tracking.read.runs import find_run
from paramshare.tracking.store import Store, StoreAddress, open_existing_store, store_failures
from paramshare.training.choice import ENGINES, Choice, Engine, choose_engine
from paramshare.training.control import one_bit_control
from paramshare.training.devices import choose_devices, find_devices
from paramshare.training.engines import train
from paramshare.training.result import Result
from paramshare.training.targets import Spec

__all__ = ["reproduce", "reproduce_in"]

_FEWEST_FLIPS: Final = 4
_MOST_FLIPS: Final = 64


def reproduce(run_id: str, address: StoreAddress, engine: Engine = "auto", recipe: str | None = None) -> Reproduction:
    """Train a seed's run again, in this process, and compare all numbers. Writes nothing.

    Args:
        run_id: MLflow's id, or its first 8 digits or more.
        address: the store that holds the run.
        engine: what trains it; `auto` is what trained the run.
        recipe: the reference of the run's recipe. Defaults to None: a built-in or an installed recipe. A path that a
            store names is never imported.

    Raises:
        UsageError: there is no such run, it is none that can be trained again, or not by this engine, or not here.
        ServerError: the store failed.
    """
    with store_failures(address):
        return reproduce_in(open_existing_store(address), run_id, engine, recipe)


def reproduce_in(store: Store, run_id: str, engine: Engine = "auto", recipe: str | None = None) -> Reproduction:
    """As `reproduce`, in a store that is open.

    Raises:
        UsageError: as of `reproduce`.
        MlflowException: the store failed.
    """
    run = _read(store, run_id, recipe)
    choice = _choose(run, engine)
    choose_devices((run.spec.device,), find_devices())
    held = Numbers.of_run(run, run.weights)
    result = train(choice.spec, choice.engine)
    compared = compare(held, Numbers.of_result(result))
    return Reproduction(
        run_id=run.run_id,
        spec=run.spec,
        run_engine=run.engine,
        engine=choice.engine,
        compared=compared,
        control=() if compared.equal else _control(run.spec, compared),
        differences=(*_engines(run, result), *differences(run.provenance, run.spec.device, result.threads)),
    )


def _read(store: Store, run_id: str, recipe: str | None) -> RunView:
    """Return a run, with the code of its recipe if it is not of a built-in target.

    Raises:
        UsageError: the run was trained by another recipe, or by one that is not known here.
    """
    target = view_of(find_run(store, run_id), store).target
    if not isinstance(target, RecipeTarget):
        if recipe is not None and recipe != target.name:
            raise UsageError(f"the run {run_id} was trained by {target.name}, not by {recipe}; leave --recipe out")
        return read_run(store, run_id)
    if recipe is None and target.name not in installed_recipes():
        raise UsageError(
            f"the run {run_id} was trained by the recipe {target.name}, which is not installed here; pass its code "
            "with --recipe path/to/file.py:Class"
        )
    code = find_target(recipe or target.name)
    if not isinstance(code, RecipeTarget) or (code.name, code.version) != (target.name, target.version):
        version = code.version if isinstance(code, RecipeTarget) else 1
        raise UsageError(
            f"the run {run_id} was trained by {target.name} of version {target.version}, and "
            f"{recipe or target.name} is {code.name} of version {version}; pass the recipe that trained it"
        )
    return read_run(store, run_id, code)


def _choose(run: RunView, engine: Engine) -> Choice:
    """The engine that trains `run` again, with its own arithmetic."""
    name = run.engine if engine == "auto" else engine
    if name not in ENGINES:
        raise UsageError(
            f"the run {run.run_id} was trained by the engine {name!r}, which is not known here; expected "
            "a run of this version, or another engine by --engine"
        )
    choice = choose_engine(replace(run.spec, arithmetic="direct"), name)
    if engine == "auto" and choice.spec != run.spec:
        raise SpecError(
            f"the run {run.run_id} was changed, or is of another version of paramshare: its arithmetic is "
            f"{run.spec.arithmetic}, its engine {name}"
        )
    return choice


def _engines(run: RunView, result: Result) -> tuple[Difference, ...]:
    if result.engine == run.engine:
        return ()
    other_bits = result.spec.arithmetic != run.spec.arithmetic
    return (Difference("engine", run.engine, result.engine, explains=other_bits),)


def _control(spec: Spec, compared: Comparison) -> tuple[Deviation, ...]:
    """How far each flipped bit takes the training. More are flipped until one takes it as far as was found.

    What a flip does is one of a few things: most open or close no clamp and go as far as rounding, some do, at one of
    some steps, and go a thousand times further. So a handful of them often misses what other roundings do.
    """
    trainings = map(Numbers.of_result, one_bit_control(spec, _MOST_FLIPS))
    unflipped = next(trainings)
    control: list[Deviation] = []
    for flipped in trainings:
        control.append(deviation(flipped, unflipped))
        if len(control) >= _FEWEST_FLIPS and (compared.depths or within(compared.deviation, control)):
            break
    return tuple(control)
