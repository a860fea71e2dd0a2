"""Checkpoints of the default training loop: a training that was killed goes on from its last one, bit for bit.

A checkpoint is one file, written whole or not at all, and read without unpickling. It holds the weights, the states of
optimizer, scheduler and generators, the position in the epoch, the numbers of every step so far, and the tensors and
plain values that the recipe keeps on itself. It is ignored if it is of another spec or source, or if it was written
with other libraries, hardware or threads, which could change bits.
"""

import logging
import math
import os
import platform
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from paramshare.errors import in_a_line
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec import Spec
from paramshare.training.environment.devices import cpu_model

__all__ = [
    "CheckpointFile", "Checkpoints", "checkpoint_of", "generator_states", "kept_values", "restore_generators",
    "restore_tensors", "restore_values", "tensors_of", "write_checkpoints",
]  # fmt: skip

_log = logging.getLogger(__name__)

_ATTRIBUTE: Final = "_paramshare_checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The folder of the checkpoints, and the interval between them.

    Args:
        folder: the folder, created with the first checkpoint.
        every: seconds between two checkpoints of a training.
    """

    folder: Path
    every: float = 60.0

    def of(self, spec: Spec) -> "CheckpointFile":
        """Return the checkpoint of a training."""
        identity = {"key": spec.key(), "digest": spec.recipe.digest, **_rounding(spec.device)}
        return CheckpointFile(self.folder / f"{spec.key()}.pt", self.every, identity)

    def remove(self, spec: Spec) -> None:
        """Remove the checkpoint of a training whose run is written, and what a killed process has left of one."""
        for file in self.folder.glob(f"{spec.key()}.pt*"):
            file.unlink(missing_ok=True)


@dataclass(slots=True)
class CheckpointFile:
    """The checkpoint of one training.

    Args:
        path: the file.
        every: seconds between two checkpoints.
        identity: what a checkpoint must have been written with to be used.
    """

    path: Path
    every: float
    identity: Mapping[str, object]
    _last: float = field(default_factory=time.monotonic)
    _checked: bool = False

    def due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        return time.monotonic() - self._last >= self.every

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint to a temporary file and rename it. A disk that is full ends no training."""
        self._last = time.monotonic()
        new = self.path.with_name(f"{self.path.name}.{platform.node()}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                torch.save({**state, "identity": dict(self.identity)}, file)
                file.flush()
                os.fsync(file.fileno())
            if not self._checked:
                torch.load(new, weights_only=True)
                self._checked = True
            new.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            _log.warning("no checkpoint in %s: %s", self.path.parent, in_a_line(error))
        except Exception as error:  # the recipe keeps something that cannot be read without unpickling
            new.unlink(missing_ok=True)
            self.every = math.inf
            _log.warning("this training has no checkpoints: %s", in_a_line(error))

    def load(self) -> dict[str, Any] | None:
        """Return the last checkpoint; None if there is none that can be used."""
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # such as a file of another program
            _log.warning("the checkpoint %s cannot be read: %s", self.path, in_a_line(error))
            return None
        return state if state.get("identity") == dict(self.identity) else None


def _rounding(device: str) -> dict[str, object]:
    """Return what decides the bits of a training beside its spec: the libraries, the hardware and the threads."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cpu": cpu_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
    }


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return every parameter and buffer of a module by name, those that a `state_dict` leaves out included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def restore_tensors(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Set every parameter and buffer of a module in place."""
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            tensor.copy_(tensors[name])


def generator_states(order: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Return the states of the order's generator and of the global generators of Python, NumPy and torch."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "order": order.get_state(),
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.array(keys, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_generators(states: Mapping[str, Any], order: torch.Generator, device: torch.device) -> None:
    """Set these generators."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    order.set_state(states["order"])


def write_checkpoints(recipe: Recipe, checkpoint: CheckpointFile) -> None:
    """Make the default loop of this instance of a recipe write checkpoints and start from the last one."""
    vars(recipe)[_ATTRIBUTE] = checkpoint


def checkpoint_of(recipe: Recipe) -> CheckpointFile | None:
    """Return the checkpoint of this instance of a recipe; None if it has none."""
    checkpoint: CheckpointFile | None = vars(recipe).get(_ATTRIBUTE)
    return checkpoint


def kept_values(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe keeps on itself beside its options: of a module, its tensors."""
    values = {name: value for name, value in vars(recipe).items() if name not in ("options", _ATTRIBUTE)}
    return {name: tensors_of(value) if isinstance(value, nn.Module) else value for name, value in values.items()}


def restore_values(recipe: Recipe, values: Mapping[str, Any]) -> None:
    """Set what a recipe keeps on itself."""
    for name, value in values.items():
        present = vars(recipe).get(name)
        if isinstance(present, nn.Module):
            restore_tensors(present, value)
        elif isinstance(present, torch.Tensor) and isinstance(value, torch.Tensor):
            setattr(recipe, name, value.to(present.device))
        else:
            setattr(recipe, name, value)
