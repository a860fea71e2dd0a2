"""A run depends on its spec alone: no setting of torch that a caller makes changes a bit of it, and each is
the caller's again afterwards.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from paramshare.errors import UsageError
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.training.bit_flip import one_bit_control
from paramshare.training.choice import Engine
from paramshare.training.engines import train, train_many
from paramshare.training.environment.torch_defaults import _PRECISIONS, torch_defaults
from paramshare.training.export.archives import _export
from paramshare.training.result import Result
from support.specs import DIGITS_VARIANTS, digits_spec, replace

DYNAMICNET = TrainSpec(seed=3, batch_size=8, input_size=20, hidden_size=10, output_size=4, steps=12)
DIGITS = digits_spec(seed=3, channels=4, examples=1750, batch_size=50, steps=4)
RUNS: list[tuple[Spec, Engine]] = [
    *((DYNAMICNET, engine) for engine in ("reference", "exact", "gram")),
    (replace(DYNAMICNET, variant="untied"), "auto"),
    (replace(DYNAMICNET, learning_rate=1.0), "reference"),  # diverges
    *((replace(DIGITS, variant=variant), "auto") for variant in DIGITS_VARIANTS),
]
Undo = Callable[[], object]


class Doubles(TorchFunctionMode):
    """Gives every new tensor another precision."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return func(*args, **({"dtype": torch.float64} if func in (torch.empty, torch.zeros) else {}) | kwargs)


class Inexact(TorchDispatchMode):
    """Changes the last bits of every product."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return out * (1 + 1e-6) if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default) else out


@contextmanager
def undone(undo: Undo) -> Iterator[None]:
    try:
        yield
    finally:
        undo()


def set_for_now(change: Undo, back: Undo) -> AbstractContextManager[None]:
    change()
    return undone(back)


def hooked() -> AbstractContextManager[None]:
    stack = ExitStack()
    forward = nn.modules.module.register_module_forward_hook(lambda module, given, out: out * 1.001)
    stack.callback(forward.remove)
    new = nn.modules.module.register_module_parameter_registration_hook(
        lambda module, name, parameter: nn.Parameter(parameter.detach().double())
    )
    stack.callback(new.remove)

    def decay(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(0.9)

    stack.callback(register_optimizer_step_post_hook(decay).remove)
    return stack  # type: ignore[return-value]


mkldnn: Any = torch._C
SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "the default dtype is float64": lambda: set_for_now(
        lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)
    ),
    "the default device is meta": lambda: set_for_now(
        lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)
    ),
    "within torch.device": lambda: torch.device("meta"),
    "without gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "without oneDNN": lambda: set_for_now(
        lambda: mkldnn._set_mkldnn_enabled(False), lambda: mkldnn._set_mkldnn_enabled(True)
    ),
    "a mode that sees functions": Doubles,
    "a mode that sees operations": Inexact,
    "functions of torch that no mode sees": lambda: mkldnn.DisableTorchFunction(),
    "hooks on saved tensors": lambda: saved_tensors_hooks(lambda tensor: tensor * 1.001, lambda tensor: tensor),
    "hooks on all modules and optimizers": hooked,
}


def bits(result: Result) -> list[object]:
    """Return all that a run gives."""
    arrays = [*result.curves.values(), *(tensor.numpy() for tensor in result.data.values())]
    arrays += [parameter.detach().numpy() for parameter in result.net.parameters()]
    final_metrics = np.array(list(result.final_metrics.values()))  # NaN is no number to be compared
    return [(array.dtype, array.tobytes()) for array in (*arrays, final_metrics)] + [dict(result.sizes), result.threads]


@pytest.fixture(scope="module")
def expected() -> list[list[object]]:
    """Return the bits of every run where nothing is set."""
    return [bits(train(spec, engine)) for spec, engine in RUNS]


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_torch_setting_of_the_caller_changes_a_bit_of_a_run(setting: str, expected: list[list[object]]) -> None:
    with SETTINGS[setting]():
        results = [train(spec, engine) for spec, engine in RUNS]
    assert [bits(result) for result in results] == expected


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_training_restores_the_torch_setting_of_the_caller(setting: str) -> None:
    with SETTINGS[setting]():
        before = observed()
        state = torch.get_rng_state().numpy().tobytes()
        train(DYNAMICNET)
        assert torch.get_rng_state().numpy().tobytes() == state
        assert observed() == before


def test_a_training_resets_every_precision_and_flag_and_restores_them() -> None:
    with ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("medium")
        stack.enter_context(
            torch.backends.cudnn.flags(enabled=False, benchmark=True, deterministic=True, allow_tf32=False)
        )
        stack.callback(torch.use_deterministic_algorithms, False)
        torch.use_deterministic_algorithms(True, warn_only=True)
        stack.callback(torch.set_flush_denormal, False)
        torch.set_flush_denormal(True)
        changed = flags()
        with torch_defaults():
            assert flags() == PLAIN
        assert flags() == changed


def test_contradictory_precisions_do_not_stop_a_training(expected: list[list[object]]) -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        assert bits(train(*RUNS[0])) == expected[0]
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"


def test_the_settings_of_the_caller_are_restored_between_two_results() -> None:
    with SETTINGS["the default dtype is float64"](), torch.no_grad():
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            for result in train_many([DYNAMICNET, replace(DYNAMICNET, seed=4)]):
                assert result.threads == 1
                assert torch.get_num_threads() == 2
                assert torch.get_default_dtype() == torch.float64
                assert not torch.is_grad_enabled()
        finally:
            torch.set_num_threads(before)


def test_simultaneous_trainings_in_two_threads_share_the_settings_of_the_process() -> None:
    """The one that ends first takes nothing from the other."""
    begun, ended = threading.Event(), threading.Event()
    seen: list[torch.dtype] = []

    def other() -> None:
        with torch_defaults():
            begun.set()
            ended.wait()
            seen.append(torch.get_default_dtype())

    thread = threading.Thread(target=other)
    with SETTINGS["the default dtype is float64"]():
        with torch_defaults():
            thread.start()
            begun.wait()
        ended.set()
        thread.join()
        assert torch.get_default_dtype() == torch.float64
    assert seen == [torch.float32]


def test_an_exported_graph_does_not_depend_on_settings_of_the_caller() -> None:
    shape = target_of(DYNAMICNET).shape(DYNAMICNET)
    plain = dict(_export(shape).members)
    with SETTINGS["the default dtype is float64"](), torch.device("meta"):
        other = dict(_export(shape).members)
    assert plain == other


def test_the_one_bit_control_does_not_depend_on_settings_of_the_caller() -> None:
    plain = [bits(result) for result in one_bit_control(DYNAMICNET, 1)]
    with SETTINGS["the default dtype is float64"](), torch.device("meta"), torch.no_grad():
        results = list(one_bit_control(DYNAMICNET, 1))
    assert [bits(result) for result in results] == plain


def test_a_training_within_a_function_that_torch_transforms_is_refused() -> None:
    def objective(x: torch.Tensor) -> torch.Tensor:
        train(DYNAMICNET)
        return x.sum()

    with pytest.raises(UsageError, match=r"^a training cannot run inside a function that torch\.func transforms; call"):
        torch.func.grad(objective)(torch.ones(2))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_a_training_within_code_that_torch_traces_is_refused() -> None:
    class Trained(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            train(DYNAMICNET)
            return x

    with pytest.raises(UsageError, match=r"^a training cannot run inside code that torch compiles, exports or traces;"):
        torch.jit.trace(Trained(), torch.ones(2))  # type: ignore[no-untyped-call]


def observed() -> tuple[object, ...]:
    """Return what the caller can see of its settings, tried out where nothing tells them."""
    weight = nn.Linear(2, 2).weight
    product = weight @ weight
    tried = product.dtype, product.device, product.requires_grad, product.is_inference()
    return torch.get_default_dtype(), torch.get_default_device(), tried, torch.get_num_threads(), flags()


def flags() -> tuple[object, ...]:
    """Return the flags that change roundings on some hardware."""
    read: Any = torch._C
    precisions = [read._get_fp32_precision_getter(backend, operation) for backend, operation, _ in _PRECISIONS]
    return (
        torch.get_float32_matmul_precision(),
        precisions,
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
        sys.float_info.min / 2 == 0,
    )


PLAIN = flags()  # when this module is imported
