"""The error for a refused size suggests another size or dtype only if the model accepts it."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from paramshare.errors import SpecError
from paramshare.sharing.analyze import analyze


class Tokens(nn.Module):
    """Uses integers for one input and none for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear = nn.Embedding(9, 4), nn.Linear(5, 4)

    def forward(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Look up one, map the other."""
        return torch.as_tensor(self.table(tokens) + self.linear(x))


class Indexing(nn.Module):
    """Takes indices in one of the ways that torch has."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.weight = way, nn.Parameter(torch.empty(10, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Index the weight."""
        ways = {
            "one_hot": lambda: functional.one_hot(x, 10).float() @ self.weight,
            "gather": lambda: self.weight.gather(0, x),
            "index": lambda: self.weight[x],
            "take": lambda: self.weight.take(x),
            "embedding_bag": lambda: functional.embedding_bag(x, self.weight),
        }
        return ways[self.way]()


def refusal(model: nn.Module, size: object, dtypes: object = None) -> str:
    with pytest.raises(SpecError) as refused:
        analyze(model, size, dtypes=dtypes)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("batch", [1, 8])
def test_error_for_a_size_with_the_batch_suggests_the_size_without_it(batch: int) -> None:
    said = refusal(nn.Conv2d(3, 4, 3), (batch, 3, 8, 8))
    hint = "; the model accepts the input 3,8,8 (input_size=(3, 8, 8) in Python): sizes are given without the batch"
    assert said.endswith(hint)
    assert analyze(nn.Conv2d(3, 4, 3), (3, 8, 8)).totals.unshared == 4 * 36 * 28


@pytest.mark.parametrize("way", ["one_hot", "gather", "index", "take", "embedding_bag"])
def test_error_for_float_tokens_suggests_the_integer_dtype(way: str) -> None:
    said = refusal(Indexing(way), (7,))
    assert said.endswith(
        "; the model accepts the dtype long (dtypes=torch.long in Python): tokens and other indices are integers"
    )


def test_suggestion_makes_only_index_inputs_integers() -> None:
    said = refusal(Tokens(), ((7,), (7, 5)))
    assert "the model accepts the dtype 'long;float32' (dtypes=[torch.long, torch.float32] in Python): tokens" in said


def test_suggestion_corrects_batch_and_dtype_together() -> None:
    said = refusal(nn.Embedding(9, 4), (1, 7))
    assert "; the model accepts the input 7 and the dtype long (input_size=(7,), dtypes=torch.long in Python): " in said


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (nn.Conv2d(3, 4, 3), (1, 28, 28)),  # one channel too few, and no batch
        (nn.Conv2d(3, 4, 3), (1, 4, 8, 8)),
        (nn.Linear(5, 2), (1, 4)),
        (nn.Linear(5, 2), (4,)),
    ],
)
def test_suggestion_omits_samples_that_the_model_refuses_too(model: nn.Module, size: tuple[int, ...]) -> None:
    assert "the model accepts" not in refusal(model, size)


def test_inputs_given_as_tensors_get_no_suggestion_about_sizes() -> None:
    with pytest.raises(SpecError) as refused:
        analyze(nn.Embedding(9, 4), args=(torch.zeros(1, 7),))
    assert "the model accepts" not in str(refused.value)


INTEGERS = [
    (nn.Linear(4, 4), (4,), "multiply tensors of the dtypes int64 and float32"),
    (nn.ConvTranspose1d(3, 4, 3), (3, 8), "multiply tensors of the dtypes int64 and float32"),
    (nn.BatchNorm2d(3), (3, 4, 4), "normalise a tensor of the dtype int64"),
    (nn.LSTM(3, 4, batch_first=True), (8, 3), "does not match weight dtype"),
]


@pytest.mark.parametrize(("model", "size", "reason"), INTEGERS, ids=lambda value: type(value).__name__)
def test_integers_for_a_layer_of_numbers_are_refused_with_the_models_dtype(
    model: nn.Module, size: tuple[int, ...], reason: str
) -> None:
    said = refusal(model, size, torch.long)
    assert reason in said
    assert said.endswith(
        "the model accepts the dtype float32 (dtypes=torch.float32 in Python): numbers have the dtype of the weights"
    )


def test_suggestion_keeps_integers_for_indices() -> None:
    said = refusal(Tokens(), ((7,), (7, 5)), torch.long)
    assert "; the model accepts the dtype 'long;float32' (dtypes=[torch.long, torch.float32] in Python)" in said


def test_floating_point_types_can_differ_under_autocast() -> None:
    class Cast(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return functional.linear(x, self.weight.bfloat16())

    assert analyze(Cast(4, 4, bias=False), (4,)).totals.macs == 16
