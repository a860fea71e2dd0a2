"""Recompute the example of the source article: its claims about a convolution's weights, the numbers and the reasons.

The example is a first layer of 32 filters of 3 × 3 over 192 × 192 positions. `formulas` computes every number except
the quotations from the article.
"""

from dataclasses import dataclass
from math import isqrt
from textwrap import fill
from typing import Final

from paramshare.sharing.formulas import conv

__all__ = ["Claim", "claims", "table"]

_SIDE: Final = 192
_FILTERS: Final = 32
_TAPS: Final = 3
_PIXELS: Final = 299

_LAYER: Final = conv(1, _FILTERS, _TAPS, (_SIDE, _SIDE), padding="same", bias=False)
_COLOUR: Final = conv(3, _FILTERS, _TAPS, (_SIDE, _SIDE), padding="same")
_STEM: Final = conv(3, _FILTERS, _TAPS, (_PIXELS, _PIXELS), stride=2, bias=False)

_KERNEL: Final = f"{_TAPS} · {_TAPS}"
_SPACE: Final = f"{_SIDE} · {_SIDE}"
_OUTPUTS: Final = _SIDE * _SIDE * _FILTERS

_TITLE: Final = (
    f"The article's example: a layer of {_FILTERS} filters of {_TAPS} × {_TAPS}, with {_SIDE} × {_SIDE} outputs each. "
    "The default is one input channel, stride 1, same padding and no bias."
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One number of the article, or a related number.

    Args:
        about: the quantity.
        says: the quotation from the article; None for a related number.
        true: the correct number.
        why: the explanation, in one or two sentences.
    """

    about: str
    says: str | None
    true: str
    why: str


def claims() -> tuple[Claim, ...]:
    """Return the claims of the article, then the related numbers."""
    return (*_quoted(), *_related())


def _quoted() -> tuple[Claim, ...]:
    return (
        Claim(
            "weights, shared",
            "288",
            f"{_LAYER.shared:,}",
            f"{_KERNEL} · {_FILTERS}: right for one input channel without a bias. With three channels and a bias the "
            f"number would be {_COLOUR.shared:,}.",
        ),
        Claim(
            "weights, not shared",
            "192·192·32 = 1.2 million",
            f"{_LAYER.unshared:,} weights of {_OUTPUTS:,} outputs",
            f"{_SPACE} · {_FILTERS} is the number of the layer's outputs, not of weights: without sharing each output "
            f"has {_KERNEL} weights, so there are {_LAYER.unshared // _OUTPUTS} times as many weights as outputs.",
        ),
        Claim(
            "factor that sharing saves",
            "500,000 times",
            f"{_LAYER.unshared // _LAYER.shared:,} times",
            f"{_LAYER.unshared:,} / {_LAYER.shared}, one copy for each of {_SPACE} positions. The article's own two "
            f"numbers give {_OUTPUTS:,} / {_LAYER.shared} = {_OUTPUTS // _LAYER.shared:,}, and no ratio of the numbers "
            "here is 500,000.",
        ),
        Claim(
            "weights, locally connected",
            "more than 10 million",
            f"{_LAYER.unshared:,}",
            f"Right: {_SPACE} positions with {_LAYER.shared} weights each. {_LAYER.unshared_live:,} of the weights "
            "meet data; the others lie on the padding.",
        ),
    )


def _related() -> tuple[Claim, ...]:
    locality, sharing = _LAYER.dense // _LAYER.unshared, _LAYER.unshared // _LAYER.shared
    positions = _STEM.unshared // _STEM.shared
    side = isqrt(positions)
    return (
        Claim(
            "weights, fully connected",
            None,
            f"{_LAYER.dense:,}",
            f"Each of {_OUTPUTS:,} outputs is connected to each of {_SIDE * _SIDE:,} inputs. Local connectivity "
            f"divides this number by {locality:,}, and sharing divides the result by {sharing:,}.",
        ),
        Claim(
            "Inception v3's real first layer",
            None,
            f"{_STEM.shared:,} shared, {_STEM.unshared:,} not shared, {_STEM.dense:,} fully connected",
            f"On {_PIXELS} × {_PIXELS} pixels of three channels, with stride 2, no padding and no bias, sharing saves "
            f"{positions:,} times: one copy for each of {side} · {side} positions.",
        ),
    )


def table(width: int = 88) -> str:
    """Return the claims as plain text, one block for each claim.

    Args:
        width: characters of a line.
    """
    return "\n\n".join((fill(_TITLE, width), *(_block(claim, width) for claim in claims())))


def _block(claim: Claim, width: int) -> str:
    rows = (("article", claim.says or "–"), ("true", claim.true), ("why", claim.why))
    lines = (
        fill(text, width, initial_indent=f"  {label:9}", subsequent_indent=" " * 11, break_on_hyphens=False)
        for label, text in rows
    )
    return "\n".join((claim.about, *lines))
