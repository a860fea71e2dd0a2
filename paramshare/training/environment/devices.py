"""The devices of this machine, and the choice of devices by request."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paramshare.errors import DeviceError
from paramshare.recipes.spec_values import canonical_device

__all__ = ["Device", "choose_devices", "cpu_cores", "cpu_model", "find_devices"]

_DRIVERS: Final = ("nvidia", "nvhost", "nvgpu", "nvmap", "dxg", "kfd")
"""What the names of the files of GPUs' drivers begin with: NVIDIA's, NVIDIA's on Jetson, Windows' for WSL, AMD's."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that can be trained on.

    Args:
        name: as in a spec: `cpu`, `cuda:0`, `mps`.
        model: the hardware's own name.
        why: one sentence on how it was found.
    """

    name: str
    model: str
    why: str


def find_devices() -> tuple[Device, ...]:
    """Return every device of this machine that torch can use, the CPU first."""
    devices = [Device("cpu", cpu_model(), f"always there; {cpu_cores()} cores for this process")]
    if not _may_have_accelerator():
        return tuple(devices)  # importing torch to learn that takes a second
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = torch.cuda.get_device_name(index)
        devices.append(Device(f"cuda:{index}", name, f"CUDA {torch.version.cuda} sees it"))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", platform.processor() or "Apple GPU", "Metal sees it"))
    return tuple(devices)


def _may_have_accelerator() -> bool:
    """Return whether this machine can have a device beside its CPU: on Linux each driver has a file in `/dev`."""
    if sys.platform != "linux" or "torch" in sys.modules:
        return True
    return any(file.name.startswith(_DRIVERS) for file in Path("/dev").iterdir())


def choose_devices(requests: Sequence[str], found: Sequence[Device], where: str = "on this machine") -> tuple[str, ...]:
    """Return the names of the requested devices, without repeats, in the order of the requests.

    Args:
        requests: `auto` (every device that is there; never fails), `cpu`, `cuda` (the first one), `cuda:N`, `mps`.
        found: the result of `find_devices`.
        where: the machine in words, for errors.

    Raises:
        DeviceError: a request is not the name of a device, or this machine does not have the device.
    """
    there = [device.name for device in found]
    chosen: dict[str, None] = {}
    for request in requests:
        if request == "auto":
            chosen.update(dict.fromkeys(there))
            continue
        name = canonical_device(request)
        if name not in there:
            raise DeviceError(
                f"device {request!r} is not {where}; there is {', '.join(there)}; "
                "choose among these, or auto for all of them"
            )
        chosen[name] = None
    return tuple(chosen)


def cpu_cores() -> int:
    """Return the number of cores that this process can use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """Return the name of the processor, such as `AMD EPYC 9R14`; the architecture if it has no name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
