"""Test which devices a request means, that what is not there is refused, and that seeds start alike everywhere."""

import pytest

from paramshare.errors import DeviceError
from paramshare.recipes.spec import Spec
from paramshare.training.engines import train
from paramshare.training.environment.devices import Device, choose_devices, cpu_cores, find_devices
from support.specs import replace

LAPTOP = [Device("cpu", "a processor", "")]
SERVER = [*LAPTOP, Device("cuda:0", "a GPU", ""), Device("cuda:1", "a GPU", "")]


@pytest.mark.parametrize(
    ("requests", "found", "expected"),
    [
        (["auto"], LAPTOP, ("cpu",)),
        (["auto"], SERVER, ("cpu", "cuda:0", "cuda:1")),
        (["cuda"], SERVER, ("cuda:0",)),
        (["cuda:1", "cpu"], SERVER, ("cuda:1", "cpu")),
        (["cuda", "cuda:0", "auto"], SERVER, ("cuda:0", "cpu", "cuda:1")),
    ],
)
def test_a_request_for_devices_selects_the_expected_ones(
    requests: list[str], found: list[Device], expected: tuple[str, ...]
) -> None:
    assert choose_devices(requests, found) == expected


@pytest.mark.parametrize(("request_", "found"), [("cuda", LAPTOP), ("mps", LAPTOP), ("cuda:2", SERVER)])
def test_a_missing_device_is_refused_with_the_available_ones(request_: str, found: list[Device]) -> None:
    with pytest.raises(DeviceError, match=r"is not on this machine; there is cpu.*auto"):
        choose_devices([request_], found)


def test_the_cpu_is_always_found_with_its_model_and_cores() -> None:
    cpu = find_devices()[0]
    assert cpu.name == "cpu"
    assert cpu.model
    assert f"{cpu_cores()} core" in cpu.why


@pytest.mark.parametrize("device", ["cuda:0", "mps"])
def test_a_seed_has_the_same_start_on_every_device(device: str, small: Spec) -> None:
    if device not in {found.name for found in find_devices()}:
        pytest.skip(f"no {device} on this machine")
    here, there = train(small), train(replace(small, device=device))
    assert there.losses[0] == pytest.approx(here.losses[0], rel=1e-5)
    assert (there.curves["depth"] == here.curves["depth"]).all()
    assert {value.device.type for value in there.net.state_dict().values()} == {"cpu"}
