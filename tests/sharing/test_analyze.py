"""`analyze` leaves the model unchanged, refuses bad input in one line, and needs little work and memory."""

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from paramshare import analyze
from paramshare.errors import SpecError


def refused(model: nn.Module, *args: object, **kwargs: object) -> str:
    with pytest.raises(SpecError) as said:
        analyze(model, *args, **kwargs)  # type: ignore[arg-type]
    assert "\n" not in str(said.value)
    return str(said.value)


def test_analyze_does_not_change_the_model() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 36, 2))
    before, hooks = copy.deepcopy(model.state_dict()), [len(module._forward_hooks) for module in model.modules()]
    analyze(model, (1, 8, 8))
    analyze(model, (1, 8, 8), training=True)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()] == hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_pass_uses_parameters_that_evaluation_does_not() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.trunk(x)
            return out + self.head(out).sum() if self.training else out

    model = Auxiliary()
    evaluated, trained = analyze(model, (4,)), analyze(model, (4,), training=True)
    assert (evaluated.totals.unused, trained.totals.unused) == (10, 0)
    assert evaluated.totals.shared == trained.totals.shared == 30
    unused = evaluated.layers[1]
    assert (unused.name, unused.uses, unused.counts.shared, unused.counts.factor) == ("head", 0, 10, None)


def test_memory_distinguishes_frozen_weights_and_uses_the_weights_dtypes() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False).requires_grad_(False), nn.Linear(4, 4, bias=False).bfloat16())
    model[1].register_forward_pre_hook(lambda _, args: (args[0].bfloat16(),))
    shared = analyze(model, (4,)).totals.memory["shared"]
    assert (shared.weights, shared.trainable) == (16 * 4 + 16 * 2, 16 * 2)
    assert (shared.with_gradient, shared.with_adam) == (96 + 32, 96 + 3 * 32)


def test_analyze_accepts_several_inputs_dtypes_and_call_arguments() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layer = nn.Embedding(9, 4), nn.Linear(4, 4)

        def forward(self, tokens: Tensor, x: Tensor, twice: bool = False) -> Tensor:
            out: Tensor = self.table(tokens) + self.layer(x)
            return self.layer(out) if twice else out

    by_size = analyze(Both(), [(5,), (5, 4)], dtypes=[torch.long, None], kwargs={"twice": True})
    by_tensor = analyze(Both(), args=(torch.zeros(1, 5, dtype=torch.long), torch.zeros(1, 5, 4), True))
    assert by_size.totals == by_tensor.totals
    assert by_size.input == "1×5 int64, 1×5×4, twice=True"


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3)),
            (1, 8, 8),
            "0 (Conv2d) refuses its input (input 1×1×8×8, weight 4×3×3×3, bias 4): Inv",
        ),
        (
            nn.Sequential(nn.Linear(4, 5), nn.Linear(6, 7)),
            (4,),
            "1 (Linear) refuses its input (input 1×5, weight 7×6, bias 7): ",
        ),
        (nn.Linear(4, 4), (0,), "input_size is (0,); expected positive integers"),
        (nn.Linear(4, 4), (-3,), "input_size is (-3,); expected positive integers"),
        (nn.Linear(4, 4), 4, "input_size is 4; expected a tuple of integers"),
        (nn.Linear(4, 4), None, "no input was given"),
        (nn.ReLU(), (4,), "ReLU has no parameters to count"),
        (nn.Embedding(4, 4), (4,), "refuses its input"),
        ("resnet50", (4,), "a str cannot be analysed; expected a torch.nn.Module"),
    ],
)
def test_bad_input_is_refused_in_one_line_with_layer_and_shapes(
    model: nn.Module, size: tuple[int, ...], said: str
) -> None:
    assert said in refused(model, size)


def test_conflicting_inputs_and_dtypes_are_refused() -> None:
    layer = nn.Linear(4, 4)
    assert "input_size and args were both given" in refused(layer, (4,), args=(torch.zeros(1, 4),))
    assert "2 dtypes were given for 1 inputs" in refused(layer, (4,), dtypes=[torch.float32, torch.long])


def test_code_that_needs_values_is_refused_with_its_place() -> None:
    class Numpy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(x.numpy())

    said = refused(nn.Sequential(nn.Linear(4, 4), Numpy()), (4,))
    assert "1 (Numpy) cannot be traced without values (input 1×4)" in said


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_scripted_submodule_is_refused_by_name() -> None:
    scripted = torch.jit.script(nn.Linear(3, 3))
    assert "0 (RecursiveScriptModule) is a TorchScript module" in refused(nn.Sequential(scripted), (3,))


def test_error_that_the_model_catches_does_not_end_the_analysis() -> None:
    class Catches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong, self.right = nn.Linear(9, 9), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                out: Tensor = self.wrong(x)
            except RuntimeError:
                out = self.right(x)
            return x @ out.transpose(-1, -2) + self.right.bias.sum()

    report = analyze(nn.Sequential(Catches()), (2, 4))
    assert [(row.name, row.counts.macs) for row in report.layers] == [("0", 16), ("0.wrong", 0), ("0.right", 32)]


class Operations(TorchDispatchMode):
    """A counter of the operations that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_analysis_work_grows_linearly_with_layers() -> None:
    """Counted in torch's operations, which no noise of a machine changes."""
    work = []
    for layers in (10, 20, 40):
        model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(layers)))
        with Operations() as watched:
            analyze(model, (8,))
        work.append(watched.seen.total())
    assert work[2] - work[1] == 2 * (work[1] - work[0])


def test_model_larger_than_memory_is_analysed_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(1 << 20, 1 << 20, bias=False) for _ in range(4)))
    totals = analyze(model, (1 << 20,)).totals
    assert totals.shared == totals.macs == 1 << 42
    assert totals.memory["shared"].weights == 1 << 44
