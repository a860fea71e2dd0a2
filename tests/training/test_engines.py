"""An engine is chosen by what the spec and its device allow and says why, and many specs give each
result as its training ends.
"""

import logging

import pytest

from paramshare.errors import SpecError
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.spec import Spec
from paramshare.training.choice import Choice, Engine, choose_engine
from paramshare.training.engines import train, train_many
from paramshare.training.result import Result
from support.specs import replace

CPU, CUDA, MPS = (TrainSpec(seed=0, device=device) for device in ("cpu", "cuda:1", "mps"))


@pytest.mark.parametrize(
    ("spec", "engine", "expected"),
    [
        (CPU, "auto", "exact"),
        (CPU, "reference", "reference"),
        (CPU, "gram", "gram"),
        (replace(CPU, arithmetic="gram"), "auto", "gram"),
        (CUDA, "auto", "gram"),
        (CUDA, "reference", "reference"),
        (replace(CUDA, batch_size=2000), "auto", "reference"),
        (replace(CUDA, batch_size=2000), "gram", "gram"),
        (MPS, "auto", "reference"),
    ],
)
def test_the_default_engine_depends_on_the_spec_and_its_device(spec: Spec, engine: Engine, expected: str) -> None:
    choice = choose_engine(spec, engine)
    assert choice.engine == expected
    assert choice.reason
    assert choice.spec == replace(spec, arithmetic="gram" if expected == "gram" else "direct")


@pytest.mark.parametrize(
    ("spec", "engine", "said"),
    [
        (CUDA, "exact", "the engine exact runs on cpu, not on cuda:1; expected the engine reference or auto"),
        (MPS, "gram", "the engine gram runs on cpu and cuda, not on mps; expected the engine reference or auto"),
        (CPU, "fast", "there is no engine called 'fast'; expected auto, reference, exact, gram"),
        (
            replace(CPU, arithmetic="gram"),
            "exact",
            "the spec's arithmetic is gram, the engine exact's is direct; expected the engine gram or auto",
        ),
    ],
)
def test_an_engine_that_cannot_run_a_spec_is_refused_in_one_line(spec: Spec, engine: Engine, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        choose_engine(spec, engine)
    assert str(caught.value) == said


def test_exact_and_reference_share_a_key_and_gram_has_its_own() -> None:
    keys = {engine: choose_engine(CPU, engine).spec.key() for engine in ("reference", "exact", "gram")}
    assert keys["reference"] == keys["exact"] == CPU.key() != keys["gram"]


def test_train_many_gives_each_result_when_its_training_ends(small: Spec) -> None:
    told: list[Result] = []
    results = train_many([replace(small, seed=seed) for seed in range(3)], on_result=told.append)
    assert told == []
    for seed, result in enumerate(results):
        assert result.spec.seed == seed
        assert [one.spec.seed for one in told] == list(range(seed + 1))


def test_a_result_and_the_log_have_the_engine_and_its_reason(small: Spec, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "paramshare"):
        result = train(small)
    assert (result.engine, result.reason) == ("exact", choose_engine(small).reason)
    assert f"1 runs on cpu by the engine exact: {result.reason}" in caplog.text


def test_train_many_trains_nothing_if_one_spec_is_refused(small: Spec) -> None:
    told: list[Result] = []
    with pytest.raises(SpecError):
        train_many([small, replace(small, device="cuda:0")], "exact", told.append)
    assert told == []


def test_a_choice_of_an_engine_is_plain_data() -> None:
    assert choose_engine(CPU) == Choice(CPU, "exact", "the reference's bits on a CPU in the least time")
