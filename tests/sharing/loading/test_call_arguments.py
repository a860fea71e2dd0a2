"""JSON data and sample functions supply the arguments of a call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paramshare.errors import SpecError
from paramshare.sharing.loading.call_arguments import load_sample, tensors_of
from paramshare.sharing.loading.user_code import process_state_restored


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    with process_state_restored():
        yield


@pytest.mark.parametrize(
    ("value", "shape", "kind"),
    [
        ({"size": "3,224,224"}, (1, 3, 224, 224), torch.float16),
        ({"size": "3x8"}, (1, 3, 8), torch.float16),
        ({"size": [7], "dtype": "long"}, (1, 7), torch.long),
        ({"size": ""}, (1,), torch.float16),
        ({"shape": "10,1,8"}, (10, 1, 8), torch.float16),
        ({"shape": [], "dtype": "int32"}, (), torch.int32),
    ],
)
def test_json_object_with_size_or_shape_becomes_a_tensor(
    value: dict[str, Any], shape: tuple[int, ...], kind: torch.dtype
) -> None:
    tensor = tensors_of(value, torch.float16)
    assert (tuple(tensor.shape), tensor.dtype, tensor.is_meta) == (shape, kind, True)


@pytest.mark.parametrize(
    "value", [3, 2.5, True, None, "3,8,8", [3, 8, 8], {}, {"dtype": "long"}, {"size": 3, "name": "x"}]
)
def test_json_values_that_do_not_describe_a_tensor_are_kept(value: object) -> None:
    assert tensors_of(value) == value


def test_tensor_descriptions_are_replaced_at_any_depth() -> None:
    batch = tensors_of({"x": [{"size": "4"}, {"y": {"shape": "2,3"}}], "flag": True})
    assert (batch["x"][0].shape, batch["x"][1]["y"].shape, batch["flag"]) == ((1, 4), (2, 3), True)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"size": "3", "shape": "3"}, "has both size (without the batch) and shape (of all axes); give one of them"),
        ({"size": "3,a"}, "size is '3,a'; expected positive integers such as 3,224,224"),
        ({"size": [0, 3]}, "size is [0, 3]; expected positive integers"),
        ({"shape": 3}, "shape is 3; expected positive integers"),
        ({"size": {"a": 1}}, "expected positive integers"),
        ({"size": [[3]]}, "expected positive integers"),
        ({"size": "3", "dtype": "tiny"}, "dtype 'tiny' is not a dtype of torch"),
        ({"size": "3", "dtype": "long;long"}, "dtype is 'long;long'; expected one dtype such as long"),
        ({"size": "3", "dtype": 3}, "dtype is 3; expected one dtype"),
    ],
)
def test_malformed_tensor_descriptions_are_refused_in_one_line(value: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        tensors_of([value])
    assert said in str(refused.value)


SAMPLES = """
import torch
from collections import UserDict

x, y = torch.zeros(1, 4), torch.zeros(1, 5)

def both(): return (x, y), {"scale": 3}
def by_position(): return x, y
def one_tensor(): return x
def by_name(): return {"x": x, "flag": True}
def of_a_tokenizer(): return UserDict(x=x)
def dict_by_position(): return ({"x": x},), {}
def none(): return (), {}
ready = {"x": x}

def number(): return 3
def needs(size): return x
def fails(): raise ValueError("no data\\nhere")
def ends(): raise SystemExit
"""


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("both", ((1, 4), (1, 5)), {"scale": 3}),
        ("by_position", ((1, 4), (1, 5)), {}),
        ("one_tensor", ((1, 4),), {}),
        ("by_name", (), {"x": (1, 4), "flag": True}),
        ("of_a_tokenizer", (), {"x": (1, 4)}),
        ("dict_by_position", ({"x": (1, 4)},), {}),
        ("none", (), {}),
        ("ready", (), {"x": (1, 4)}),
    ],
)
def test_sample_functions_supply_the_arguments_of_the_call(name: str, args: object, kwargs: object) -> None:
    def shapes(value: Any) -> Any:
        if isinstance(value, Tensor):
            return tuple(value.shape)
        if isinstance(value, dict):
            return {key: shapes(part) for key, part in value.items()}
        return tuple(map(shapes, value)) if isinstance(value, tuple) else value

    Path("samples.py").write_text(SAMPLES)
    assert tuple(map(shapes, load_sample(f"samples.py:{name}"))) == (args, kwargs)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("number", "samples.py:number returns 3; expected (args, kwargs): a tuple and a dict, or one of the two"),
        ("needs", "missing a required argument: 'size'; expected a function without arguments"),
        ("fails", "calling samples.py:fails failed: ValueError: no data"),
        ("ends", "calling samples.py:ends ended the program with exit code 0"),
        ("nothing", "there is no 'nothing' in samples.py"),
    ],
)
def test_sample_functions_without_a_valid_result_are_refused_in_one_line(name: str, said: str) -> None:
    Path("samples.py").write_text(SAMPLES)
    with pytest.raises(SpecError) as refused:
        load_sample(f"samples.py:{name}")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
