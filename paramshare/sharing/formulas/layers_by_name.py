"""Look up the formula of one layer by the name of the layer, and format its regimes as a table."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final, Literal, get_args

from paramshare.errors import SpecError
from paramshare.sharing.formulas import Regimes, attention, conv, conv_transpose, embedding, linear, rnn
from paramshare.sharing.text import aligned, readable_bytes

__all__ = ["LAYERS", "LayerKind", "layer_regimes", "layer_table"]

LayerKind = Literal[
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "embedding", "rnn", "gru", "lstm", "attention",
]  # fmt: skip
LAYERS: Final[tuple[LayerKind, ...]] = get_args(LayerKind)

_CONV: Final = {"kernel", "stride", "padding", "dilation", "groups", "bias"}
_RECURRENT: Final = {"layers", "bidirectional", "bias"}
_OPTIONS: Final[dict[str, set[str]]] = {
    "linear": {"bias"},
    "conv": _CONV,
    "conv_transpose": _CONV | {"output_padding"},
    "embedding": {"rows"},
    "rnn": _RECURRENT,
    "gru": _RECURRENT,
    "lstm": _RECURRENT | {"projection"},
    "attention": {"heads", "bias"},
}
_FLOAT: Final = 4  # bytes


def layer_regimes(kind: LayerKind, size: Sequence[int], out: int | None, options: Mapping[str, object]) -> Regimes:
    """Return the regimes of one layer.

    Args:
        kind: one of `LAYERS`.
        size: size of one sample of the input: features, after any number of positions (linear); channels and space
            (convolutions); the number of indices (embedding); steps and features (rnn, gru, lstm); length and features
            (attention).
        out: output features or channels; None for attention, which has those of the input.
        options: the options that the layer has, out of kernel, stride, padding, dilation, output_padding (one number
            for all dimensions, or one each), groups, bias, rows (of an embedding's table), layers, bidirectional,
            projection, heads.

    Raises:
        SpecError: an option is unknown or missing, or a size is impossible.
    """
    family = kind.rstrip("123d") if kind.startswith("conv") else kind
    if wrong := sorted(set(options) - _OPTIONS[family]):
        has = ", ".join(_option(name) for name in sorted(_OPTIONS[family]))
        raise SpecError(f"{_option(wrong[0])} is not an option of {kind}; expected {has}")
    if out is None and family != "attention":
        raise SpecError(
            f"--out is missing: the {'channels' if family.startswith('conv') else 'features'} of the output"
        )
    return _FAMILIES[family](kind, tuple(size), out or 0, dict(options))


def layer_table(title: str, counted: Regimes) -> str:
    """Return the regimes of one layer as plain text: parameters, their ratio to shared, bytes in float32, MACs."""
    rows: list[tuple[str, ...]] = [("regime", "parameters", "× shared", "memory", "with Adam", "MACs")]
    for regime in ("shared", "unshared", "unshared_live", "dense"):
        number: int = getattr(counted, regime)
        macs = counted.dense_macs if regime == "dense" else counted.macs
        memory = (readable_bytes(_FLOAT * number), readable_bytes(4 * _FLOAT * number))
        rows.append((regime, f"{number:,}", f"{number / counted.shared:,.1f}", *memory, f"{macs:,}"))
    return f"{title}\n\n{aligned(rows, left=1)}"


def _option(name: str) -> str:
    """Return an option as `paramshare layer` has it."""
    return "--" + name.replace("_", "-")


def _linear(_kind: str, size: tuple[int, ...], out: int, options: dict[str, object]) -> Regimes:
    return linear(size[-1], out, positions=prod(size[:-1]), **options)  # type: ignore[arg-type]


def _conv(kind: str, size: tuple[int, ...], out: int, options: dict[str, object]) -> Regimes:
    dims = int(kind[-2])
    if len(size) != dims + 1:
        names = f"channels and {dims} dimension{'s'[: dims > 1]}"
        raise SpecError(_wrong_size(kind, size, names, dims + 1))
    if "kernel" not in options:
        raise SpecError(f"--kernel is missing: the kernel of {kind}, such as 3")
    for name, value in options.items():
        if isinstance(value, tuple) and len(value) != dims:
            shown = ",".join(map(str, value))
            raise SpecError(f"{_option(name)} is {shown}; expected one number, or {dims} for {kind}")
    kernel = options.pop("kernel")
    formula = conv_transpose if "transpose" in kind else conv
    return formula(size[0], out, kernel, size[1:], **options)  # type: ignore[arg-type]


def _embedding(_kind: str, size: tuple[int, ...], out: int, options: dict[str, object]) -> Regimes:
    if "rows" not in options:
        raise SpecError("--rows is missing: the number of rows of the embedding's table")
    return embedding(options["rows"], out, positions=prod(size))  # type: ignore[arg-type]


def _recurrent(kind: str, size: tuple[int, ...], out: int, options: dict[str, object]) -> Regimes:
    steps, features = _pair(kind, size, "steps and features")
    names = {"layers": "num_layers", "projection": "proj_size"}
    renamed = {names.get(name, name): value for name, value in options.items()}
    return rnn(kind, features, out, steps, **renamed)  # type: ignore[arg-type]


def _attention(kind: str, size: tuple[int, ...], out: int, options: dict[str, object]) -> Regimes:
    length, features = _pair(kind, size, "length and features")
    if out not in (0, features):
        raise SpecError(f"attention has as many features out as in, {features}; got {out}")
    heads = options.pop("heads", 1)
    return attention(features, heads, length, **options)  # type: ignore[arg-type]


def _pair(kind: str, size: tuple[int, ...], names: str) -> tuple[int, int]:
    if len(size) != 2:
        raise SpecError(_wrong_size(kind, size, names, 2))
    return size[0], size[1]


def _wrong_size(kind: str, size: tuple[int, ...], names: str, expected: int) -> str:
    """Return the message for an input with another number of axes; one more may be a batch."""
    advice = ""
    if len(size) == expected + 1:
        advice = f"; a size has no batch, so give {','.join(map(str, size[1:]))}"
    elif len(size) < expected:
        example = "16,8" if expected == 2 else ",".join(["3", *["32"] * (expected - 1)])
        advice = f"; give {expected}, such as {example}"
    return f"{kind} has an input of {names}; got {len(size)} number{'s'[: len(size) != 1]}{advice}"


_FAMILIES: Final = {
    "linear": _linear,
    "conv": _conv,
    "conv_transpose": _conv,
    "embedding": _embedding,
    "rnn": _recurrent,
    "gru": _recurrent,
    "lstm": _recurrent,
    "attention": _attention,
}
