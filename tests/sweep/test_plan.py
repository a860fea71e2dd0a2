"""The plan of a sweep that is spread over the GPUs of a machine."""

from dataclasses import replace

import pytest

from paramshare.errors import UsageError
from paramshare.sweep import plan
from paramshare.sweep.plan import check_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress
from paramshare.training.environment.devices import Device
from support.command_line import SIZES

CPU = Device("cpu", "a CPU", "")
GPUS = [Device(f"cuda:{index}", "a GPU", "") for index in range(3)]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Device]:
    """Return the devices of this machine, a list that a test can change."""
    devices = [CPU, *GPUS]
    monkeypatch.setattr(plan, "find_devices", lambda: devices)
    return devices


def spec_of(devices: str) -> SweepSpec:
    return SweepSpec.model_validate({**SIZES, "seeds": "0:4", "devices": devices, "spread": True})


@pytest.mark.parametrize(("devices", "expected"), [("cuda", ("cuda:0",)), ("cuda,cpu", ("cuda:0", "cpu"))])
def test_a_spread_sweep_trains_each_seed_once_as_cuda_0_on_every_gpu(
    devices: str, expected: tuple[str, ...], machine: list[Device], address: StoreAddress
) -> None:
    made = check_sweep(spec_of(devices), address)
    assert (made.devices, made.gpus) == (expected, len(machine) - 1)
    assert [spec.device for spec in made.specs] == [device for device in expected for _ in range(4)]


def test_a_spread_sweep_on_all_devices_counts_the_gpus_as_one(machine: list[Device], address: StoreAddress) -> None:
    assert check_sweep(spec_of("auto"), address).devices == ("cpu", "cuda:0")
    assert machine


def test_a_sweep_over_different_gpus_is_refused(machine: list[Device], address: StoreAddress) -> None:
    machine[1] = replace(GPUS[0], model="an older GPU")
    with pytest.raises(UsageError, match="needs equal GPUs, and this machine has a GPU, an older GPU"):
        check_sweep(spec_of("cuda"), address)


def test_a_spread_sweep_without_a_gpu_is_refused(machine: list[Device], address: StoreAddress) -> None:
    with pytest.raises(UsageError, match="--spread needs a GPU, and the devices are cpu; leave it out"):
        check_sweep(spec_of("cpu"), address)
    assert machine


def test_a_spread_sweep_on_a_cluster_is_refused(address: StoreAddress) -> None:
    with pytest.raises(UsageError, match="a cluster trains each seed once without it"):
        check_sweep(spec_of("cuda"), address, GPUS[:1])


def test_a_spread_sweep_over_one_gpu_by_number_is_refused() -> None:
    with pytest.raises(ValueError, match="--devices names cuda:1; pass --devices cuda"):
        spec_of("cuda:1")
