"""Recipe: the public class that says what is trained.

    class Spirals(ps.Recipe):
        class Options(ps.Options):
            width: int = 32
            steps: int = 2000

        variants = {"conv": None, "local": {"space"}}
        metrics = (ps.Metric("accuracy", "accuracy at unseen angles", better="higher"),)

        def data(self, generator): return ps.Data(train=(x, y), test=(test_x, test_y))
        def model(self): return SpiralNet(self.options.width)
        def loss(self, model, batch): return cross_entropy(model(batch[0]), batch[1])
        def evaluate(self, model, data): return {"accuracy": ...}

`data`, `model` and `loss` are needed; everything else has a default. Importing this module loads no torch.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Data", "Metric", "Options", "Recipe", "Step", "Variant"]

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

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that `evaluate` returns.

    Args:
        name: its name, such as `accuracy`. MLflow shows it as `final/accuracy`.
        description: a few words for tables and reports. Defaults to the name.
        better: whether lower or higher values are better. Defaults to lower.
    """

    name: str
    description: str = ""
    better: Literal["lower", "higher"] = "lower"


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
        values: other numbers of the step by name. Each becomes a curve.
    """

    loss: float
    values: Mapping[str, float] = field(default_factory=dict)


class Recipe:
    """Something to train, with its options and variants. Subclass it; see the head of this module.

    Each training has an instance of its own. It may keep state on `self` between the calls of its methods.

    Args:
        values: the values of options by name. Defaults to the options' defaults.

    Raises:
        pydantic.ValidationError: a value is not valid, or there is no such option.
    """

    name: ClassVar[str] = ""
    """The name in MLflow, keys and reports. Defaults to the name of the class in lower case."""

    version: ClassVar[int] = 1
    """Part of every key. Raise it if the same options give other numbers than before."""

    Options: ClassVar[type[Options]] = Options
    """The class of the options."""

    variants: ClassVar[Mapping[str, Variant]] = {"built": None, "untied": ("tie", "depth", "space")}
    """The variants by name, the one that shares most first. Defaults to the model as built, beside its untied twin."""

    metrics: ClassVar[Sequence[Metric]] = (Metric("loss", "mean loss of the trained model"),)
    """The numbers that `evaluate` returns. Variants are compared by the first one."""

    loss_name: ClassVar[str] = "loss"
    """The loss in words, with its unit, such as `cross entropy, nats`."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if not vars(cls).get("name"):
            cls.name = cls.__name__.lower()

    def __init__(self, **values: Any) -> None:
        self.options: Any = self.Options(**values)

    def data(self, generator: "torch.Generator") -> Data:
        """Return the data of a seed.

        Args:
            generator: a CPU generator of the seed. Global generators are seeded, too.
        """
        raise NotImplementedError

    def model(self) -> "nn.Module":
        """Return the model as built, on the CPU. Its weights come from torch's global generator, seeded by the seed."""
        raise NotImplementedError

    def loss(self, model: "nn.Module", batch: Any) -> "Tensor | tuple[Tensor, Mapping[str, float]]":
        """Return the loss of a batch, a tensor with one element; or a pair of it and other numbers of the step."""
        raise NotImplementedError

    def evaluate(self, model: "nn.Module", data: Data) -> Mapping[str, float]:
        """Return every metric of `metrics` by name. The model is in evaluation mode, without gradients.

        The default returns the mean of `loss` over the test examples, or over the training examples if there are none.
        """
        from paramshare.recipes.loop.evaluation import mean_loss

        return {"loss": mean_loss(self, model, data.train if data.test is None else data.test)}

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """Return the positional arguments of the model for a batch: for counts, twins and the exported model.

        The default returns the first part of a tuple or list, or else the batch itself.
        """
        return (batch[0],) if isinstance(batch, tuple | list) else (batch,)

    def optimizer(self, model: "nn.Module") -> "torch.optim.Optimizer":
        """Return the optimizer. The default is SGD with the options `learning_rate`, `momentum`, `weight_decay`."""
        import torch

        return torch.optim.SGD(
            model.parameters(),
            lr=self.option("learning_rate", 0.01),
            momentum=self.option("momentum", 0.0),
            weight_decay=self.option("weight_decay", 0.0),
        )

    def scheduler(self, optimizer: "torch.optim.Optimizer") -> Any:  # noqa: ARG002 - for overriding methods
        """Return a scheduler of torch whose `step()` is called after every step, or None. The default is None."""
        return None

    def batches(self, data: Any, generator: "torch.Generator") -> Iterator[Any]:
        """Yield the batches of one epoch of `Data.train`. It is called for every epoch.

        The default shuffles the examples and leaves out those that do not fill a batch. A batch of all examples keeps
        their order.

        Args:
            data: the training data, on the device.
            generator: a CPU generator of the seed, for the order.
        """
        from paramshare.recipes.loop.examples import shuffled_batches

        return shuffled_batches(data, self.option("batch_size", None), generator)

    def should_stop(self, losses: Sequence[float], evaluations: Sequence[Mapping[str, float]]) -> bool:  # noqa: ARG002
        """Return whether to stop now. It is called after every step. The default never stops early.

        Args:
            losses: the loss of every step so far.
            evaluations: the results of `evaluate` so far, if the recipe has the option `evaluate_every`.
        """
        return False

    def fit(self, model: "nn.Module", data: Data, generator: "torch.Generator") -> Iterator[Step]:
        """Train the model in place and yield each step. Override it for a loop of your own.

        Args:
            model: on the device, in training mode.
            data: on the device, if it consists of tensors.
            generator: a CPU generator of the seed, for the order of the examples.
        """
        from paramshare.recipes.loop.fit import fit

        return fit(self, model, data, generator)

    def option(self, name: str, default: Any) -> Any:
        """Return the value of an option, or `default` if the recipe has no option of this name."""
        return getattr(self.options, name, default)
