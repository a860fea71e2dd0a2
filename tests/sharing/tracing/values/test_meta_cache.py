"""A cached output has the shapes, strides and dtypes of torch's output, in new tensors.

Views, writes, and arguments that differ only by type are distinguished.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from paramshare.sharing.tracing.values.meta_cache import MetaCache
from paramshare.sharing.tracing.values.shape_inference import inferred_output

aten = torch.ops.aten


def new(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


class Counted(TorchDispatchMode):
    """A counter of the operations that torch runs, except for new tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.asked += "empty" not in str(func)
        return func(*args, **(kwargs or {}))


def told(result: Any) -> list[tuple[object, ...]]:
    tensors = result if isinstance(result, tuple | list) else [result]
    return [(tensor.shape, tensor.stride(), tensor.dtype, tensor.device.type) for tensor in tensors]


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.addmm.default, (new(5), new(3, 4), new(4, 5))),
        (aten.mm.default, (new(3, 4), new(5, 4).t())),
        (aten.native_layer_norm.default, (new(2, 3), [3], new(3), new(3), 1e-5)),
        (aten.convolution.default, (new(1, 2, 6, 6), new(4, 2, 3, 3), None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1)),
        (aten.cat.default, ([new(2, 3), new(2, 5)], 1)),
        (aten.sum.dim_IntList, (new(2, 3, dtype=torch.int32), [1], True)),
    ],
)
def test_cached_output_equals_torchs_output_in_new_tensors(func: Any, args: Any) -> None:
    outcomes = MetaCache()
    first = outcomes.run(func, args, {})
    with Counted() as watched:
        second = outcomes.run(func, args, {})
    assert watched.asked == 0
    assert told(second) == told(first) == told(func(*args))
    assert type(second) is type(first)
    flat = [
        tensor for result in (first, second) for tensor in (result if isinstance(result, tuple | list) else [result])
    ]
    assert len({tensor.untyped_storage()._cdata for tensor in flat}) == len(flat)


def test_cache_distinguishes_numbers_of_different_types() -> None:
    outcomes, whole = MetaCache(), new(3, dtype=torch.int32)
    kinds = [outcomes.run(aten.add.Tensor, (whole, other), {}).dtype for other in (1, 1.0, True)]  # type: ignore[attr-defined]
    assert kinds == [torch.int32, torch.float32, torch.int32]


def test_cache_distinguishes_strides_dtypes_and_named_arguments() -> None:
    outcomes, matrix = MetaCache(), new(3, 3)
    straight = outcomes.run(aten.clone.default, (matrix,), {})
    across = outcomes.run(aten.clone.default, (matrix.t(),), {})
    half = outcomes.run(aten.clone.default, (matrix.half(),), {})
    packed = outcomes.run(aten.clone.default, (matrix.t(),), {"memory_format": torch.contiguous_format})
    assert [signature[1:3] for signature in told([straight, across, half, packed])] == [
        ((3, 1), torch.float32), ((1, 3), torch.float32), ((3, 1), torch.float16), ((3, 1), torch.float32),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("func", "args"), [(aten.t.default, ()), (aten.unsafe_split.Tensor, (1,)), (aten.detach.default, ())]
)
def test_cache_returns_views_of_the_new_arguments(func: Any, args: Any) -> None:
    outcomes, matrix = MetaCache(), new(3, 4)
    for _ in range(2):
        result = outcomes.run(func, (matrix, *args), {})
        first: Any = result[0] if isinstance(result, tuple | list) else result
        assert first.untyped_storage()._cdata == matrix.untyped_storage()._cdata


def test_cache_returns_the_first_argument_of_in_place_operations_and_repeats_reshapes() -> None:
    outcomes = MetaCache()
    for _ in range(2):
        one, other = new(3, 4), new(3, 4)
        assert outcomes.run(aten.add_.Tensor, (one, other), {}) is one
        outcomes.run(aten.t_.default, (one,), {})
        assert one.shape == (4, 3)


def test_cache_raises_the_same_error_each_time() -> None:
    outcomes = MetaCache()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            outcomes.run(aten.mm.default, (new(3, 4), new(3, 4)), {})


@pytest.mark.parametrize(
    ("func", "args"),
    [
        *(
            (func, (new(2, 3), new(2, 3)))
            for func in (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
        ),
        *(
            (func, (new(2, 3, dtype=torch.bfloat16),))
            for func in (
                aten.elu.default, aten.gelu.default, aten.hardtanh.default, aten.leaky_relu.default, aten.relu.default,
                aten.sigmoid.default, aten.silu.default, aten.tanh.default,
            )
        ),
        (aten.mm.default, (new(3, 4), new(5, 4).t())),
        (aten.addmm.default, (new(5), new(3, 4), new(5, 4).t())),
        (aten.addmm.default, (new(3, 5), new(3, 4), new(4, 5))),
    ],
)  # fmt: skip
def test_inferred_output_equals_torchs_output(func: Any, args: Any) -> None:
    plain = inferred_output(func, args, {})
    assert plain is not None
    assert told(plain) == told(func(*args))


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.add.Tensor, (new(2, 3), new(3))),
        (aten.add.Tensor, (new(2, 3), new(2, 3, dtype=torch.float64))),
        (aten.mul.Tensor, (new(2, 3), new(3, 2).t())),
        (aten.relu.default, (new(2, 3, dtype=torch.int64),)),
        (aten.addmm.default, (new(1), new(3, 4), new(4, 5))),
        (aten.mm.default, (new(3, 4), new(3, 4))),
        (aten.eq.Tensor, (new(2, 3), new(2, 3))),
    ],
)
def test_unusual_arguments_have_no_inferred_output(func: Any, args: Any) -> None:
    assert inferred_output(func, args, {}) is None
