"""A sequence whose batch is on the wrong axis is reported, and no other sequence is."""

import pytest
import torch
from torch import Tensor, nn

from paramshare.sharing.analyze import analyze
from paramshare.sharing.formulas import rnn


class Encoder(nn.Module):
    """Tokens, then a recurrent net over them."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.table, self.net = nn.Embedding(9, 8), nn.GRU(8, 4, batch_first=batch_first)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the net's outputs."""
        out: Tensor = self.net(self.table(tokens))[0]
        return out


SECOND = [nn.LSTM(8, 16), nn.GRU(8, 16), nn.RNN(8, 16)]


@pytest.mark.parametrize("model", SECOND, ids=lambda model: type(model).__name__)
def test_steps_interpreted_as_a_batch_are_reported_and_the_advice_is_right(model: nn.Module) -> None:
    (said,) = analyze(model, (10, 8)).warnings
    kind = type(model).__name__
    assert said.startswith(
        f"(model) ({kind}) has batch_first=False and was given 1×10×8: one step of a batch of 10, each"
    )
    assert "args=(torch.empty(10, 1, ...),)" in said
    right = rnn(kind.lower(), 8, 16, 10)
    for shape in ((10, 1, 8), (10, 8)):
        report = analyze(model, args=(torch.empty(shape),))
        assert (report.totals.unshared, report.warnings) == (right.unshared, ())


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_batch_layout_warning_is_given_once_for_all_attention_layers() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=False)
    (said,) = analyze(model, ((10, 8), (10, 8))).warnings
    assert said.startswith("encoder.layers.0.self_attn (MultiheadAttention), as 2 more layers, has batch_first=False")
    steps = torch.empty(10, 1, 8)
    assert analyze(model, args=(steps, steps)).warnings == ()


def test_batch_layout_warning_covers_named_arguments() -> None:
    assert len(analyze(nn.LSTM(8, 16), kwargs={"input": torch.empty(1, 10, 8)}).warnings) == 1
    x = torch.empty(1, 10, 8)
    assert len(analyze(nn.MultiheadAttention(8, 2), kwargs={"query": x, "key": x, "value": x}).warnings) == 1


def test_batch_layout_warning_names_the_layer_by_its_path() -> None:
    assert analyze(Encoder(False), (10,), dtypes=torch.long).warnings[0].startswith("net (GRU) has batch_first=False")
    assert analyze(Encoder(True), (10,), dtypes=torch.long).warnings == ()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.LSTM(8, 16, batch_first=True), (1, 10, 8)),
        (nn.LSTM(8, 16), (1, 1, 8)),  # one step of one sample
        (nn.GRUCell(8, 16), (1, 8)),
    ],
)
def test_one_sample_has_no_batch_layout_warning(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert analyze(model, args=(torch.empty(shape),)).warnings == ()
