"""Torch as a new process has it: what a training computes depends on its spec and on no setting of the caller.

All that trains or exports runs in `torch_defaults`. Beside a new process, these settings of a caller changed a loss or
ended a training with an error (measured on a CPU with torch 2.13): the default dtype, the default device, modes that
see every function or operation, hooks on all modules, all optimizers or all saved tensors, grad mode, inference mode,
autocast, anomaly detection if a run diverges, oneDNN switched off, and `torch.compile` around it. The others that are
set here changed no bit on that CPU but can on other hardware: TF32 and bfloat16 in products of float32, deterministic
algorithms, cuDNN's flags, cuBLAS's, NNPACK, flushed denormal numbers.

Some settings are a thread's, some are the process's. Trainings in several threads share those of the process: the first
to begin sets them, the last to end restores them. Code that torch traces or transforms cannot train, so it is refused.
Variables of the environment that libraries read once, when they are loaded, are in a run's provenance.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import torch
from torch import overrides
from torch.nn.modules import module
from torch.optim import optimizer
from torch.utils import _device

from paramshare.torch_modes import outside_modes

__all__ = ["torch_defaults"]

_TORCH: Final[Any] = torch._C  # most of what follows is in no stub
_SAVED: Final = _TORCH._autograd
_MODES: Final[Any] = overrides

_FLAGS: Final[tuple[tuple[Callable[[], Any], Callable[[Any], object], Any], ...]] = (
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (_TORCH._get_mkldnn_enabled, _TORCH._set_mkldnn_enabled, True),
    (_TORCH._get_mkldnn_deterministic, _TORCH._set_mkldnn_deterministic, False),
    (_TORCH._get_nnpack_enabled, _TORCH._set_nnpack_enabled, True),
    (_TORCH._get_cudnn_enabled, _TORCH._set_cudnn_enabled, True),
    (_TORCH._get_cudnn_deterministic, _TORCH._set_cudnn_deterministic, False),
    (_TORCH._get_cudnn_benchmark, _TORCH._set_cudnn_benchmark, False),
    *(
        ((_TORCH._get_blas_preferred_backend, _TORCH._set_blas_preferred_backend, _TORCH._BlasBackend.Cublas),)
        if torch.version.cuda
        else ()
    ),
)
"""Settings of the process: how each is read, how it is set, and its value in a new process."""

_PRECISIONS: Final = (
    ("generic", "all", "none"),
    ("cuda", "all", "none"),
    ("cuda", "conv", "tf32"),
    ("cuda", "rnn", "tf32"),
    ("cuda", "matmul", "none"),
    ("mkldnn", "all", "none"),
    ("mkldnn", "conv", "none"),
    ("mkldnn", "rnn", "none"),
    ("mkldnn", "matmul", "none"),
)
"""How float32 is computed in a new process, by backend and operation; a general entry comes before its special ones."""

_HOOKS: Final[tuple[dict[Any, Any], ...]] = tuple(
    hooks
    for owner in (module, optimizer)
    for name, hooks in vars(owner).items()
    if name.startswith("_global_") and isinstance(hooks, dict)
)
"""The hooks on all modules and all optimizers."""

_AUTOCAST: Final = ("cpu", "cuda", "mps")


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Run the block with torch's defaults and one thread; restore the caller's settings afterwards.

    One thread is faster for matrices of this size, and the bits do not depend on the number of cores.

    Raises:
        UsageError: torch traces or transforms the code that runs the block.
    """
    with outside_modes("a training"), ExitStack() as stack:
        for setting in (_function_modes, _saved_tensor_hooks, _autocast, _threads, _denormals):
            setting(stack)
        _process.enter()
        stack.callback(_process.leave)
        yield


# A thread's settings.


def _function_modes(stack: ExitStack) -> None:
    """Suspend the modes that see every function; `torch.device(...)` and the default device are two."""
    if _TORCH._is_torch_function_all_disabled():
        stack.enter_context(_TORCH._EnableTorchFunction())
    functions = [_MODES._pop_mode() for _ in range(_TORCH._len_torch_function_stack())]
    if functions:
        stack.callback(setattr, _device, "CURRENT_DEVICE", _device.CURRENT_DEVICE)
        _device.CURRENT_DEVICE = None
    for mode in functions:
        stack.callback(_MODES._push_mode, mode)


def _saved_tensor_hooks(stack: ExitStack) -> None:
    while (hooks := _SAVED._top_saved_tensors_default_hooks(True)) is not None:
        _SAVED._pop_saved_tensors_default_hooks()
        stack.callback(_SAVED._push_saved_tensors_default_hooks, *hooks)


def _autocast(stack: ExitStack) -> None:
    for device in _AUTOCAST:
        if torch.is_autocast_enabled(device):
            torch.set_autocast_enabled(device, False)
            stack.callback(torch.set_autocast_enabled, device, True)


def _threads(stack: ExitStack) -> None:
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(1)


def _denormals(stack: ExitStack) -> None:
    if sys.float_info.min / 2 == 0:  # torch sets how the processor computes and cannot be asked
        torch.set_flush_denormal(False)
        stack.callback(torch.set_flush_denormal, True)


# The process's settings.


class _Process:
    """The settings that all threads share, and how many trainings need them to be torch's defaults."""

    def __init__(self) -> None:
        self._lock, self._trainings, self._restore = threading.Lock(), 0, ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._trainings:
                with ExitStack() as stack:
                    for setting in (_flags, _deterministic, _anomaly, _precisions, _hooks):
                        setting(stack)
                    self._restore = stack.pop_all()
            self._trainings += 1

    def leave(self) -> None:
        with self._lock:
            self._trainings -= 1
            if not self._trainings:
                self._restore.close()


_process: Final = _Process()


def _flags(stack: ExitStack) -> None:
    for read, write, default in _FLAGS:
        value = read()
        if value != default:
            write(default)
            stack.callback(write, value)


def _deterministic(stack: ExitStack) -> None:
    if torch.are_deterministic_algorithms_enabled():
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        _TORCH._set_deterministic_algorithms(False)
        stack.callback(_TORCH._set_deterministic_algorithms, True, warn_only=warn_only)


def _anomaly(stack: ExitStack) -> None:
    if torch.is_anomaly_enabled():
        stack.callback(torch.set_anomaly_enabled, True, torch.is_anomaly_check_nan_enabled())
        torch.set_anomaly_enabled(False)


def _precisions(stack: ExitStack) -> None:
    """Set the precision of float32. Torch keeps the older setting of matrix products beside the newer ones."""
    read, write = _TORCH._get_fp32_precision_getter, _TORCH._set_fp32_precision_setter
    if all(read(backend, operation) == default for backend, operation, default in _PRECISIONS):
        return
    older = None
    with suppress(RuntimeError):  # both were set, and contradict each other
        older = torch.get_float32_matmul_precision()
    for backend, operation, default in _PRECISIONS:
        stack.callback(write, backend, operation, read(backend, operation))
        write(backend, operation, default)
    if older not in (None, "highest"):
        torch.set_float32_matmul_precision("highest")
        stack.callback(torch.set_float32_matmul_precision, older)
        for backend, operation, default in _PRECISIONS:  # which the older setting has changed, too
            write(backend, operation, default)


def _hooks(stack: ExitStack) -> None:
    for hooks in _HOOKS:
        if hooks:
            stack.callback(hooks.update, dict(hooks))
            hooks.clear()
