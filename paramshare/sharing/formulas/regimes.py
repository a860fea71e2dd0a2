"""The regimes of one layer: its parameters when the weights are shared, unshared and dense, for one use on one sample.

All layer types define the regimes in the same way (`report` has the definitions for a whole model):

shared
    The layer's parameters.
unshared
    A copy for every site. A matrix product or a convolution has as many copies as multiply-accumulates ("links" in
    LeCun, "Generalization and network design strategies", 1989; "unshared convolution" in Goodfellow, Bengio and
    Courville, "Deep Learning", 2016, section 9.5). An elementwise weight (bias, norm, PReLU) has a copy for every
    element of the data.
unshared_live
    The unshared copies that meet data. Taps on padding and recurrent weights on a zero initial state are not live.
dense
    The outputs of a product times the elements of its input, over all positions: no local connectivity (Goodfellow et
    al., section 9.2). An elementwise weight has as many copies as in unshared.
macs, dense_macs
    Multiply-accumulates of the products: `macs` when shared or unshared, `dense_macs` when dense. An elementwise
    operation and a table lookup have none.
"""

from dataclasses import dataclass, fields
from typing import Final

__all__ = ["Regimes", "bias_regimes", "elementwise_regimes", "product_regimes"]


@dataclass(frozen=True, slots=True)
class Regimes:
    """The numbers of one layer for one sample; the sum of two objects is that of both layers.

    Args:
        shared, unshared, unshared_live, dense: parameters.
        macs: multiply-accumulates when shared or unshared.
        dense_macs: multiply-accumulates when dense.
    """

    shared: int
    unshared: int
    unshared_live: int
    dense: int
    macs: int
    dense_macs: int

    @property
    def factor(self) -> float:
        """Return the sharing factor: unshared / shared."""
        return self.unshared / self.shared

    def __add__(self, other: "Regimes") -> "Regimes":
        return Regimes(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Regimes)))


_NO_WEIGHTS: Final = Regimes(0, 0, 0, 0, 0, 0)


def product_regimes(weights: int, sites: int, dense: int, live: int | None = None) -> Regimes:
    """Return the regimes of weights that multiply data at every site: a copy is a multiply-accumulate.

    Args:
        weights: elements of the weight.
        sites: positions at which the weight is applied.
        dense: outputs times inputs.
        live: copies that meet data. Defaults to all copies.
    """
    copies = sites * weights
    return Regimes(weights, copies, copies if live is None else live, dense, copies, dense)


def elementwise_regimes(weights: int, elements: int) -> Regimes:
    """Return the regimes of weights that meet data element by element: a copy is an element."""
    return Regimes(weights, elements, elements, elements, 0, 0)


def bias_regimes(bias: bool, weights: int, positions: int) -> Regimes:
    """Return the regimes of a bias with `weights` elements at each position; `_NO_WEIGHTS` without a bias."""
    return elementwise_regimes(weights, weights * positions) if bias else _NO_WEIGHTS
