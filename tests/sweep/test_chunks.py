"""Test how a sweep is cut into chunks, and how many of them run at the same time."""

from hypothesis import given
from hypothesis import strategies as st

from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.spec import Spec
from paramshare.sweep.chunks import BATCHED_SEEDS, make_chunks, max_workers
from paramshare.tracking.store import StoreAddress
from paramshare.training.choice import Choice, choose_engine
from paramshare.training.environment.devices import cpu_cores
from support.specs import digits_spec, replace

ADDRESS = StoreAddress("sqlite:////nowhere", "x")


def choices(*specs: Spec) -> list[Choice]:
    return [choose_engine(spec) for spec in specs]


@given(st.lists(st.sampled_from(["cpu", "cuda:0", "mps"]), max_size=600), st.integers(1, 7))
def test_chunks_hold_every_spec_once_are_of_one_device_and_not_too_large(devices: list[str], size: int) -> None:
    specs = [TrainSpec(seed=seed, device=device) for seed, device in enumerate(devices)]
    chunks = make_chunks(choices(*specs), size, ADDRESS)
    assert sorted(spec.seed for chunk in chunks for spec in chunk.specs) == list(range(len(specs)))
    assert all(1 <= len(chunk.specs) <= (BATCHED_SEEDS if chunk.device == "cuda:0" else size) for chunk in chunks)
    assert all({spec.device for spec in chunk.specs} == {chunk.device} for chunk in chunks)


def test_the_chunks_of_a_device_follow_one_another_even_if_its_specs_did_not() -> None:
    specs = [TrainSpec(seed=0, device=device) for device in ("cpu", "mps")]
    specs += [replace(spec, variant="untied") for spec in specs]
    assert [chunk.device for chunk in make_chunks(choices(*specs), 1, ADDRESS)] == ["cpu", "cpu", "mps", "mps"]


def test_seeds_that_cuda_trains_at_once_form_one_chunk_of_any_size() -> None:
    specs = [TrainSpec(seed=seed, device=device) for device in ("cpu", "cuda:0") for seed in range(100)]
    assert [len(chunk.specs) for chunk in make_chunks(choices(*specs), 50, ADDRESS)] == [50, 50, 64, 36]
    one_by_one = [digits_spec(seed=seed, device="cuda:0") for seed in range(6)]
    assert [len(chunk.specs) for chunk in make_chunks(choices(*one_by_one), 3, ADDRESS)] == [3, 3]


def test_only_the_chunks_of_a_gpu_are_shared_by_several_gpus() -> None:
    specs = [TrainSpec(seed=0, device=device) for device in ("cpu", "cuda:0", "mps")]
    shared = {chunk.device: chunk.gpus for chunk in make_chunks(choices(*specs), 1, ADDRESS, gpus=3)}
    assert shared == {"cpu": 1, "cuda:0": 3, "mps": 1}


def test_a_cpu_has_one_worker_per_core_unless_set_a_gpu_at_most_four_and_mps_one() -> None:
    assert max_workers("cpu", None, ADDRESS) == cpu_cores()
    assert max_workers("cpu", 7, ADDRESS) == 7
    assert max_workers("cuda:0", None, ADDRESS) == min(4, cpu_cores())
    assert [max_workers("cuda:0", workers, ADDRESS) for workers in (1, 3, 7)] == [1, 3, 4]
    assert max_workers("mps", 7, ADDRESS) == 1


def test_with_a_server_a_cpu_has_one_and_a_half_workers_per_core() -> None:
    server = StoreAddress("http://127.0.0.1:5000", "x")
    assert max_workers("cpu", None, server) == cpu_cores() + (cpu_cores() + 1) // 2
    assert max_workers("cpu", 7, server) == 7
