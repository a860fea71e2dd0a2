"""The plan of a sweep: its devices and, for every run, the spec and the engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, check_store
from paramshare.training.choice import Choice
from paramshare.training.devices import Device, choose_devices, find_devices
from paramshare.training.memory import check_memory
from paramshare.training.targets import Spec

__all__ = ["Plan", "check_sweep"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The runs of a sweep.

    Args:
        devices: the names of the devices.
        choices: the spec and the engine of every run, in order.
    """

    devices: tuple[str, ...]
    choices: tuple[Choice, ...]

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
    devices = choose_devices(spec.device_list, find_devices() if available is None else available, where)
    plan = Plan(devices, spec.run_choices(devices))
    if available is None:
        each_variant_and_device = plan.choices[:: len(spec.seed_list)]
        check_memory(choice.spec for choice in each_variant_and_device)
    check_store(address)
    return plan
