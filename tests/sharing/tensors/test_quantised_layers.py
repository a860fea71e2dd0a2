"""Proves that torch's quantised layers are counted like their float layers, with their stored bytes."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze, untie
from paramshare.errors import SpecError

pytestmark = pytest.mark.filterwarnings("ignore")  # torch calls its own quantisation deprecated


@pytest.fixture(autouse=True)
def _observed() -> Iterator[None]:
    """Restore the engine that a test of static quantisation sets."""
    engine = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = engine


class Cells(nn.Module):
    """Every recurrent cell, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(6, 3), nn.GRUCell(3, 3), nn.RNNCell(3, 3, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rnn(self.gru(self.lstm(x)[0]))
        return out


class Recurrent(nn.Module):
    """Two recurrent layers in both directions, and one layer with the batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 6, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(12, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.gru(self.lstm(x)[0])[0]
        return out


class Residual(nn.Module):
    """Convolutions and norms with sums, products and joins between them, as static quantisation finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.join = torch.ao.nn.quantized.FloatFunctional()
        self.first, self.norm, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.third, self.group, self.act = nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Hardswish()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(self.enter(x))))
        x = self.act(self.group(self.third(self.join.add(x, self.second(x)))))
        out: Tensor = self.leave(self.head(x.mean((2, 3))))
        return out


class Functional(nn.Module):
    """Convolutions whose outputs are added, joined and multiplied by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x) + x)
        x = self.second(torch.cat([x, x], 1)[:, :3] * x)
        out: Tensor = self.head(torch.sigmoid(x).mean((2, 3)))
        return out


def same_counts(quantised: nn.Module, model: nn.Module, size: tuple[int, ...], **options: Any) -> int:
    """Check that the counts of both models are equal, and return the bytes of the quantised model's parameters."""
    report, expected = analyze(quantised, size, **options), analyze(model, size, **options)
    for regime in ("shared", "per_use", "unshared", "unshared_live", "dense", "macs", "unused"):
        assert getattr(report.totals, regime) == getattr(expected.totals, regime), regime
    assert [row.counts.unshared for row in report.layers] == [row.counts.unshared for row in expected.layers]
    (said,) = report.warnings
    assert said.startswith("quantised layers hold ")
    return report.totals.memory["shared"].weights


DYNAMIC = {nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell}


@pytest.mark.parametrize(
    ("model", "size"),
    [(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3)), (7, 8)), (Cells(), (6,)), (Recurrent(), (5, 8))],
)
@pytest.mark.parametrize("kind", [torch.qint8, torch.float16])
def test_dynamically_quantised_layers_have_the_counts_of_their_layers(
    model: nn.Module, size: tuple[int, ...], kind: torch.dtype
) -> None:
    quantised = torch.ao.quantization.quantize_dynamic(model, DYNAMIC, dtype=kind)
    stored = same_counts(quantised, model, size)
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    biases = sum(bias.nbytes for bias in model.parameters() if bias.dim() == 1)
    one, scale = (1, 16) if kind is torch.qint8 else (2, 0)  # a double and an integer for each matrix
    assert stored == biases + sum(one * weight.numel() + scale for weight in matrices)


@pytest.mark.parametrize(("bits", "row"), [(8, 6), (4, 3)])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_quantised_tables_are_counted_with_a_scale_for_each_row(kind: type[nn.Module], bits: int, row: int) -> None:
    name = "float_qparams_weight_only_qconfig" + ("_4bit" if bits == 4 else "")
    config = getattr(torch.ao.quantization.qconfig, name)
    model = nn.Sequential(kind(10, 6))
    quantised = torch.ao.quantization.quantize_dynamic(model, {kind: config})
    assert same_counts(quantised, model, (4,), dtypes=torch.long) == 10 * (row + 4 + 4)


def test_statically_quantised_modules_have_the_counts_of_their_modules() -> None:
    model = Residual().eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    fused = torch.ao.quantization.fuse_modules(model, [["first", "norm", "relu"]])
    quantised = torch.ao.quantization.prepare(fused)
    quantised(torch.rand(2, 3, 8, 8))
    torch.backends.quantized.engine = "fbgemm"
    quantised = torch.ao.quantization.convert(quantised)
    stored = same_counts(quantised, fused, (3, 8, 8))
    weights, biases, norms, channels = 108 + 72 + 20, 4 + 4 + 5, 4 * 4, 4 + 4 + 5
    assert stored == weights + 16 * channels + 4 * (biases + norms)


def test_graphs_of_quantised_operations_have_the_counts_of_their_model() -> None:
    from torch.ao.quantization.quantize_fx import convert_fx, convert_to_reference_fx, prepare_fx

    model, sample = Functional().eval(), torch.rand(1, 3, 8, 8)
    mapping = torch.ao.quantization.get_default_qconfig_mapping("fbgemm")

    def observed() -> Any:
        graph = prepare_fx(model, mapping, (sample,))
        graph(sample)
        return graph

    torch.backends.quantized.engine = "fbgemm"
    same_counts(convert_fx(observed()), model, (3, 8, 8))
    reference, expected = (analyze(each, (3, 8, 8)).totals for each in (convert_to_reference_fx(observed()), model))
    assert (reference.unshared, reference.macs) == (expected.unshared, expected.macs)


def test_the_sentence_names_the_layers_and_their_bytes() -> None:
    quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4)), {nn.Linear})
    (said,) = analyze(quantised, (8,)).warnings
    assert said == (
        "quantised layers hold 36 parameters in 64 stored bytes, with scales and zero points: 0 (Linear); parameters "
        "and multiply-accumulates are counted as unpacked, bytes as stored"
    )


def test_a_quantised_layer_that_is_called_twice_is_one_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(self.layer(x))
            return out

    model = Twice()
    same_counts(torch.ao.quantization.quantize_dynamic(model, {nn.Linear}), model, (3, 4))
    assert analyze(model, (3, 4)).totals.per_use == 40


def test_a_quantised_layer_without_a_float_layer_is_refused_in_one_line() -> None:
    layer = torch.ao.nn.intrinsic.quantized.ConvAdd2d(3, 3, 1)
    with pytest.raises(SpecError) as refused:
        analyze(nn.Sequential(layer), (3, 4, 4))
    assert str(refused.value) == (
        "a ConvAdd2d has packed weights, and no layer with parameters is known for it; give the model before "
        "quantisation"
    )


def test_a_quantised_model_has_no_twin() -> None:
    quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
    with pytest.raises(SpecError) as refused:
        untie(quantised, input_size=(5, 4))
    assert str(refused.value) == (
        "0 (Linear) is quantised, so its weights cannot train; untie the model before quantisation"
    )
