"""What can be trained, and by which names its numbers are known. Plain data: torch is not needed to ask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Literal, Protocol

from paramshare.errors import SpecError
from paramshare.training.digits.spec import VARIANTS as DIGITS_VARIANTS
from paramshare.training.digits.spec import DigitsSpec
from paramshare.training.spec import DEPTHS, VARIANTS, TrainSpec

__all__ = [
    "COSTS",
    "DEPTH",
    "LOSS",
    "MACS",
    "MEAN_DEPTH_LOSS",
    "PARAMETERS",
    "SECONDS",
    "SIZES",
    "STEPS_PER_SECOND",
    "TARGETS",
    "Metric",
    "Spec",
    "Target",
    "TargetName",
    "depth_loss",
    "target_named",
    "target_of",
]

LOSS: Final = "train/loss"
"""The metric of every step's loss, whatever is trained."""

DEPTH: Final = "depth"
MEAN_DEPTH_LOSS: Final = "final/loss_mean_depth"

PARAMETERS: Final = "model/parameters"
MACS: Final = "model/macs"
SECONDS: Final = "time/seconds"
STEPS_PER_SECOND: Final = "time/steps_per_second"

TargetName = Literal["dynamicnet", "digits"]


class Spec(Protocol):
    """What the spec of any run has, a frozen dataclass: all that determines the run's numbers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""

    @property
    def variant(self) -> str:
        """Which of the target's nets."""

    @property
    def device(self) -> str:
        """`cpu`, `mps` or `cuda:N`."""

    @property
    def steps(self) -> int:
        """The most that it takes."""

    @property
    def arithmetic(self) -> str:
        """How the numbers are added up: `direct` as the reference does."""

    def as_dict(self) -> Mapping[str, str | int | float | None]:
        """Every field by its name, in the order of the fields."""

    def key(self) -> str:
        """A hash of all that determines the numbers, and of nothing else."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a trained net comes to.

    Args:
        name: in MLflow.
        description: in words, as in a table's head.
        better: which way.
        only: the field of a spec and its value that have this number; None where all specs have.
    """

    name: str
    description: str
    better: Literal["lower", "higher"]
    only: tuple[str, str] | None = None

    @property
    def label(self) -> str:
        """Its name in a table: `loss mean depth`."""
        return self.name.rpartition("/")[2].replace("_", " ")


SIZES: Final = (
    Metric(PARAMETERS, "parameters", "lower"),
    Metric(MACS, "multiply-accumulates per sample", "lower"),
    Metric(SECONDS, "seconds per training", "lower"),
)
"""What a net and its training take; not of every target the multiply-accumulates are known."""

COSTS: Final = (
    Metric(LOSS, "the last step's loss", "lower"),
    *SIZES,
    Metric(STEPS_PER_SECOND, "steps per second", "higher"),
)
"""What a run has beside what its trained net comes to, and which way it is better."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to train, in several variants that differ in what they share.

    Args:
        name: as options have it.
        title: what a person calls it.
        spec: the class of its specs.
        variants: the one that shares most first.
        loss: what its loss is.
        curves: the metrics of every step, the loss first.
        finals: what its trained nets come to; the first that a spec has is what variants are compared by.
        dataset: what the names of its datasets in MLflow begin with, before the seed.
        source: where the data come from, beside the seed, for a person.
        shapes: the fields of a spec that the shape of its net depends on.
        takes_depth: whether the net's depth is an input beside x.
        counts_macs: whether its runs say how many multiply-accumulates a sample takes.
        converges: whether a training ends before its last step where it has converged.
    """

    name: str
    title: str
    spec: type[Spec]
    variants: tuple[str, ...]
    loss: str
    curves: tuple[str, ...]
    finals: tuple[Metric, ...]
    dataset: str
    source: Mapping[str, object]
    shapes: tuple[str, ...]
    takes_depth: bool = False
    counts_macs: bool = False
    converges: bool = False

    def finals_of(self, options: Mapping[str, object]) -> tuple[Metric, ...]:
        """What a net comes to that was trained with these options; the first is what variants are compared by."""
        return tuple(one for one in self.finals if one.only is None or options[one.only[0]] == one.only[1])

    def metrics_of(self, options: Mapping[str, object]) -> tuple[Metric, ...]:
        """What runs with these options can be compared by: what their nets come to, and what they cost."""
        costs = tuple(one for one in COSTS if self.counts_macs or one.name != MACS)
        return (*self.finals_of(options), *costs)

    @property
    def options(self) -> dict[str, object]:
        """What may be asked of a spec beside its seed, variant, device and arithmetic: the defaults by name."""
        others = ("seed", "variant", "device", "arithmetic")
        return {one.name: one.default for one in fields(self.spec) if one.name not in others}

    def shape(self, spec: Spec) -> Spec:
        """A spec of seed 0 that has the shape of `spec` and is otherwise as it comes: equal for nets of one shape."""
        return self.new(seed=0, **{name: getattr(spec, name) for name in self.shapes})

    def parse(self, params: Mapping[str, str]) -> Spec:
        """Return the spec that a run's parameters give.

        Raises:
            KeyError: a parameter is missing.
            SpecError, ValueError: the parameters are not a valid spec.
        """
        return self.new(**{entry.name: _parsed(entry.type, params[entry.name]) for entry in fields(self.spec)})

    def new(self, **values: object) -> Spec:
        """A spec of this target.

        Raises:
            SpecError, DeviceError: a value is not one.
        """
        made: Callable[..., Spec] = self.spec
        return made(**values)


def depth_loss(depth: int) -> str:
    """The metric of a trained DynamicNet's loss at a depth."""
    return f"final/loss_depth_{depth}"


_DYNAMICNET: Final = Target(
    name="dynamicnet",
    title="DynamicNet",
    spec=TrainSpec,
    variants=VARIANTS,
    loss="summed squared error",
    curves=(LOSS, DEPTH),
    finals=(
        Metric(MEAN_DEPTH_LOSS, "the trained net's mean loss over all depths", "lower"),
        *(Metric(depth_loss(depth), f"the trained net's loss at depth {depth}", "lower") for depth in DEPTHS),
    ),
    dataset="gaussian-seed-",
    source={"generator": "torch.Generator", "order": ["x", "y"], "distribution": "N(0, 1)"},
    shapes=("input_size", "hidden_size", "output_size", "variant"),
    takes_depth=True,
)

_DIGITS: Final = Target(
    name="digits",
    title="Digits",
    spec=DigitsSpec,
    variants=DIGITS_VARIANTS,
    loss="cross entropy, nats",
    curves=(LOSS,),
    finals=(
        Metric(
            "final/accuracy_unseen",
            "accuracy on digits at places not seen in training",
            "higher",
            ("placement", "moved"),
        ),
        Metric("final/accuracy", "accuracy on digits at places seen in training", "higher"),
        Metric("final/loss", "cross entropy at places seen in training", "lower"),
        Metric("final/steps", "steps until the training digits are fitted, or all that were allowed", "lower"),
    ),
    dataset="digits-seed-",
    source={"digits": "sklearn.datasets.load_digits", "generator": "torch.Generator", "order": ["split", "places"]},
    shapes=("variant", "placement", "channels"),
    counts_macs=True,
    converges=True,
)

TARGETS: Final[dict[str, Target]] = {target.name: target for target in (_DYNAMICNET, _DIGITS)}
"""Every target by its name."""


def target_named(name: str) -> Target:
    """The target called `name`.

    Raises:
        SpecError: there is none.
    """
    if name not in TARGETS:
        raise SpecError(f"there is no target called {name!r}; expected {' or '.join(TARGETS)}")
    return TARGETS[name]


def target_of(spec: Spec) -> Target:
    """What `spec` trains.

    Raises:
        SpecError: it is no spec.
    """
    own = getattr(spec, "target", None)  # the spec of a recipe names its target
    if isinstance(own, Target):
        return own
    for target in TARGETS.values():
        if isinstance(spec, target.spec):
            return target
    given = f"the class {spec.__name__}" if isinstance(spec, type) else f"of type {type(spec).__name__}"
    raise SpecError(f"spec is {given}; expected what is trained, such as TrainSpec(seed=0)")


def _parsed(kind: object, text: str) -> int | float | str:
    """Convert the text of a parameter to the type of its field."""
    return int(text) if kind is int else float(text) if kind is float else text
