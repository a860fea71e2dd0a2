"""A layer name with sizes selects the right formula, and wrong options are refused."""

from collections.abc import Mapping, Sequence

import pytest

from paramshare.errors import SpecError
from paramshare.sharing import formulas
from paramshare.sharing.formulas import Regimes
from paramshare.sharing.formulas.layers_by_name import LAYERS, LayerKind, layer_regimes, layer_table

CASES: dict[LayerKind, tuple[Sequence[int], int | None, Mapping[str, object], Regimes]] = {
    "linear": ((7, 2, 4), 5, {"bias": False}, formulas.linear(4, 5, False, 14)),
    "conv1d": ((2, 9), 4, {"kernel": 3, "stride": 2}, formulas.conv(2, 4, 3, 9, 2)),
    "conv2d": ((2, 9, 8), 4, {"kernel": (3, 1), "groups": 2}, formulas.conv(2, 4, (3, 1), (9, 8), groups=2)),
    "conv3d": ((2, 9, 8, 7), 4, {"kernel": 3, "padding": "same"}, formulas.conv(2, 4, 3, (9, 8, 7), padding="same")),
    "conv_transpose1d": ((2, 9), 4, {"kernel": 3, "dilation": 2}, formulas.conv_transpose(2, 4, 3, 9, dilation=2)),
    "conv_transpose2d": (
        (2, 9, 8), 4, {"kernel": 3, "stride": 2, "output_padding": 1},
        formulas.conv_transpose(2, 4, 3, (9, 8), 2, output_padding=1),
    ),
    "conv_transpose3d": ((2, 3, 4, 5), 4, {"kernel": 2}, formulas.conv_transpose(2, 4, 2, (3, 4, 5))),
    "embedding": ((7,), 4, {"rows": 11}, formulas.embedding(11, 4, 7)),
    "rnn": ((7, 3), 4, {"bidirectional": True}, formulas.rnn("rnn", 3, 4, 7, bidirectional=True)),
    "gru": ((7, 3), 4, {"layers": 2}, formulas.rnn("gru", 3, 4, 7, 2)),
    "lstm": ((7, 3), 4, {"projection": 2}, formulas.rnn("lstm", 3, 4, 7, proj_size=2)),
    "attention": ((7, 6), None, {"heads": 2}, formulas.attention(6, 2, 7)),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_each_layer_name_selects_its_formula(kind: LayerKind) -> None:
    size, out, options, expected = CASES[kind]
    assert layer_regimes(kind, size, out, options) == expected


@pytest.mark.parametrize(
    ("kind", "size", "out", "options", "said"),
    [
        ("linear", (3,), 4, {"kernel": 3}, "--kernel is not an option of linear; expected --bias"),
        ("linear", (3,), None, {}, "--out is missing: the features of the output"),
        ("conv2d", (3, 9, 9), None, {"kernel": 3}, "--out is missing: the channels of the output"),
        ("conv2d", (3, 9, 9), 4, {}, "--kernel is missing: the kernel of conv2d, such as 3"),
        ("conv2d", (3, 9), 4, {"kernel": 3}, "2 dimensions; got 2 numbers; give 3, such as 3,32,32"),
        ("conv2d", (1, 3, 9, 9), 4, {"kernel": 3}, "got 4 numbers; a size has no batch, so give 3,9,9"),
        ("attention", (1, 7, 6), None, {}, "got 3 numbers; a size has no batch, so give 7,6"),
        ("conv2d", (3, 9, 9), 4, {"kernel": (3, 3, 3)}, "--kernel is 3,3,3; expected one number, or 2"),
        ("embedding", (3,), 4, {}, "--rows is missing: the number of rows"),
        ("lstm", (3,), 4, {}, "lstm has an input of steps and features; got 1 number; give 2, such as 16,8"),
        ("gru", (7, 3), 4, {"projection": 2}, "--projection is not an option of gru"),
        ("attention", (7, 6), 5, {}, "attention has as many features out as in, 6; got 5"),
        ("conv1d", (3, 2), 4, {"kernel": 5}, "the kernel spans 5"),
    ],
)
def test_unknown_or_missing_layer_options_are_refused_in_one_line(
    kind: LayerKind, size: Sequence[int], out: int | None, options: Mapping[str, object], said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        layer_regimes(kind, size, out, options)
    assert said in str(refused.value)


def test_layer_table_has_a_row_for_each_regime_with_thousands_separators() -> None:
    lines = layer_table("a title", formulas.conv(3, 32, 3, (299, 299), 2, bias=False)).splitlines()
    assert lines[0] == "a title"
    assert [line.split()[0] for line in lines[2:]] == ["regime", "shared", "unshared", "unshared_live", "dense"]
    assert lines[4].split() == ["unshared", "19,181,664", "22,201.0", "73.2", "MiB", "292.7", "MiB", "19,181,664"]
