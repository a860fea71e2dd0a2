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

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from paramshare.recipes import parts
from paramshare.recipes.parts import Data, Metric, OptionValue, Step, Variant

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from paramshare.recipes.spec import Spec

__all__ = ["Recipe"]


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

    title: ClassVar[str] = ""
    """The name in titles of figures and views. Defaults to the name of the class."""

    version: ClassVar[int] = 1
    """Part of every key. Raise it if the same options give other numbers than before."""

    Options: ClassVar[type[parts.Options]] = parts.Options
    """The class of the options."""

    variants: ClassVar[Mapping[str, Variant]] = {"built": None, "untied": ("tie", "depth", "space")}
    """The variants by name, the one that shares most first. Defaults to the model as built, beside its untied twin."""

    metrics: ClassVar[Sequence[Metric]] = (Metric("loss", "mean loss of the trained model"),)
    """The numbers that `evaluate` returns. Variants are compared by the first one."""

    loss_name: ClassVar[str] = "loss"
    """The loss in words, with its unit, such as `cross entropy, nats`."""

    data_name: ClassVar[str] = ""
    """The name of the data in MLflow. Defaults to the name of the recipe."""

    data_source: ClassVar[Mapping[str, object]] = {}
    """The origin of the data, for MLflow. Defaults to the name, version and digest of the recipe."""

    counts_macs: ClassVar[bool] = True
    """True if a run has the multiply-accumulates of an example; False if they differ from step to step."""

    graph_options: ClassVar[Collection[str] | None] = None
    """The options on which the graph of the model depends: it is exported once for all others. Defaults to all."""

    call_options: ClassVar[Mapping[str, int | float | bool | str]] = {}
    """Keyword arguments of the exported model with their defaults, for a recipe that overrides `program`."""

    seed: int
    """The seed of the training, set before `data` is called: for a recipe with generators of its own."""

    _arithmetics: ClassVar[Sequence[str]] = ("direct",)  # in how many ways its engines add up
    _curves: ClassVar[Sequence[str]] = ()  # the metrics of every step that each run has, beside the loss
    _key_constants: ClassVar[Mapping[str, OptionValue]] = {}  # fields that every key holds

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if not vars(cls).get("name"):
            cls.name = cls.__name__.lower()
        if not vars(cls).get("title"):
            cls.title = cls.__name__

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
        from paramshare.training.loop.evaluation import mean_loss

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
        from paramshare.training.loop.examples import shuffled_batches

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
        from paramshare.training.loop.fit import fit

        return fit(self, model, data, generator)

    def program(self, model: "nn.Module", inputs: tuple[Any, ...]) -> "torch.export.ExportedProgram":
        """Return the model as an exported graph. Override it for a graph with other arguments, see `call_options`.

        The default is the graph of the model for any number of examples.

        Args:
            model: in evaluation mode, on the CPU.
            inputs: its positional arguments for two examples.
        """
        from paramshare.training.export.programs import exported_program

        return exported_program(model, inputs)

    def least_memory(self, variant: str) -> int:  # noqa: ARG002 - for overriding methods
        """Return the bytes of host memory that a training takes at least. The default is 0: it is not known."""
        return 0

    def spec(self, seed: int, variant: str | None = None, device: str = "cpu") -> "Spec":
        """Return the spec of one training with these options, for `ps.train`.

        Args:
            seed: the seed, from 0.
            variant: the name of a variant. Defaults to the first one.
            device: such as `cpu` or `cuda:0`.

        Raises:
            SpecError: the seed is not valid, or there is no such variant.
            DeviceError: `device` is not the name of a device.
        """
        from paramshare.recipes.loading.find import source_of
        from paramshare.recipes.target import recipe_target

        target = recipe_target(source_of(type(self)))
        chosen = target.variants[0] if variant is None else variant
        return target.new(seed=seed, variant=chosen, device=device, **dict(self.options))

    def option(self, name: str, default: Any) -> Any:
        """Return the value of an option, or `default` if the recipe has no option of this name."""
        return vars(self.options).get(name, default)  # a missing attribute takes pydantic as long as a small step
