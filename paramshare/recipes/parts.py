"""The parts of a recipe: its options, metrics and data, and the steps of its training. Importing it loads no torch."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Data", "Metric", "OptionValue", "Options", "Step", "Variant"]

OptionValue = int | float | bool | str | None

Variant = None | Collection[str] | Mapping[str, Any] | Callable[["nn.Module"], "nn.Module"]
"""A variant: None for the model as built, axes of `untie`, values of options, or a function from module to module."""


class Options(BaseModel):
    """The options of a recipe: everything that determines its numbers beside seed, variant and device.

    Fields are int, float, bool, str, a Literal of these, or one of these or None; each needs a default. A field's
    description is its help on the command line. The default loop reads these fields, if the recipe has them:

    `steps` (1000): steps of each training;
    `batch_size` (all examples): examples of a step;
    `learning_rate` (0.01), `momentum` (0), `weight_decay` (0): of SGD;
    `clip_norm` (None): maximum norm of the gradient;
    `precision` ("float32"): "bfloat16" or "float16" for mixed precision;
    `evaluate_every` (0): steps between two evaluations while it trains; 0 evaluates at the end only.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that `evaluate` returns.

    Args:
        name: its name, such as `accuracy`. MLflow shows it as `final/accuracy`.
        description: a few words for tables and reports. Defaults to the name.
        better: whether lower or higher values are better. Defaults to lower.
        only: an option and the value of it that trainings with this metric have, such as `("noise", "none")`. Defaults
            to None: every training has it.
    """

    name: str
    description: str = ""
    better: Literal["lower", "higher"] = "lower"
    only: tuple[str, OptionValue] | None = None

    def applies_to(self, options: Mapping[str, object]) -> bool:
        """Return whether trainings with these options have the number. A value can be its text, as a store holds it."""
        return self.only is None or str(options[self.only[0]]) == str(self.only[1])

    @property
    def label(self) -> str:
        """Return the name in a table, without a prefix such as `final/`: `loss mean depth`."""
        return self.name.rpartition("/")[2].replace("_", " ")


@dataclass(frozen=True, slots=True)
class Data:
    """The data of a seed, on the CPU.

    Args:
        train: a tensor, or tuples, lists or dicts of tensors, whose first axis counts the examples. A recipe that
            overrides `batches` may return anything, such as a Dataset.
        test: as `train`, for `evaluate`. Defaults to None.
    """

    train: Any
    test: Any = None


@dataclass(frozen=True, slots=True)
class Step:
    """The numbers of one step of a training.

    Args:
        loss: the loss of the step, before its update.
        values: other numbers of the step by name. Each becomes a curve: `norm` is shown as `train/norm`, a name with a
            slash as it is, without a slash at its beginning.
    """

    loss: float
    values: Mapping[str, float] = field(default_factory=dict)
