"""The plan of a sweep: its devices and, for every run, the spec and the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from paramshare.errors import UsageError
from paramshare.recipes.spec import Spec
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, check_store
from paramshare.training.choice import Choice
from paramshare.training.environment.devices import Device, choose_devices, find_devices
from paramshare.training.environment.memory import check_memory

__all__ = ["Plan", "check_sweep"]

_CUDA: Final = "cuda"


@dataclass(frozen=True, slots=True)
class Plan:
    """The runs of a sweep.

    Args:
        devices: the names of the devices.
        choices: the spec and the engine of every run, in order.
        gpus: the number of GPUs of this machine that share the runs of `cuda:0`.
    """

    devices: tuple[str, ...]
    choices: tuple[Choice, ...]
    gpus: int = 1

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The spec of every run, in order."""
        return tuple(choice.spec for choice in self.choices)


def check_sweep(spec: SweepSpec, address: StoreAddress, available: Sequence[Device] | None = None) -> Plan:
    """Return the plan of a sweep. Nothing is trained and nothing is written.

    Args:
        available: the devices where the chunks will run. Defaults to the devices of this machine.

    Raises:
        UsageError: a device is not available, the engine does not run on it, a run needs more memory than this machine
            has, or the store cannot be opened.
    """
    where = "on this machine" if available is None else "on the workers of the cluster"
    machine_devices = find_devices() if available is None else available
    devices, gpus = choose_devices(spec.device_list, machine_devices, where), 1
    if spec.spread:
        if available is not None:
            raise UsageError("--spread is for the GPUs of this machine; a cluster trains each seed once without it")
        devices, gpus = _spread(devices, machine_devices)
    plan = Plan(devices, spec.run_choices(devices), gpus)
    if available is None:
        each_variant_and_device = plan.choices[:: len(spec.seed_list)]
        check_memory(choice.spec for choice in each_variant_and_device)
    check_store(address)
    return plan


def _spread(devices: Sequence[str], found: Sequence[Device]) -> tuple[tuple[str, ...], int]:
    """Return the devices with `cuda:0` for every GPU, and the number of GPUs.

    Raises:
        UsageError: none of the devices is a GPU, or the GPUs differ, so that a seed's numbers depend on its GPU.
    """
    if not any(name.startswith(_CUDA) for name in devices):
        raise UsageError(f"--spread needs a GPU, and the devices are {', '.join(devices)}; leave it out")
    models = [device.model for device in found if device.name.startswith(_CUDA)]
    if len(set(models)) > 1:
        raise UsageError(
            f"--spread needs equal GPUs, and this machine has {', '.join(sorted(set(models)))}; choose equal ones by "
            "CUDA_VISIBLE_DEVICES"
        )
    return tuple(dict.fromkeys("cuda:0" if name.startswith(_CUDA) else name for name in devices)), len(models)
