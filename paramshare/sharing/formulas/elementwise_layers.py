"""Closed formulas for weights that meet data element by element: the affine part of norms, and PReLU."""

from paramshare.errors import SpecError
from paramshare.sharing.formulas.regimes import Regimes, elementwise_regimes
from paramshare.sharing.formulas.sizes import check_whole

__all__ = ["norm", "prelu"]


def norm(weights: int, elements: int, bias: bool = True) -> Regimes:
    """Return the regimes of the affine part of a batch, layer, group, instance or RMS norm: y = w·x + b.

    Shared is `weights`. Every other regime has a scale, and with a bias also a shift, for each element: 2·elements. A
    norm has no MACs.

    Args:
        weights: all parameters of the norm: 2·C, or C without biases.
        elements: elements of the output; each of the C channels has the same number.
        bias: True if half of the weights are biases.

    Raises:
        SpecError: the weights are not two halves, or do not divide the elements.
    """
    check_whole(weights=weights, elements=elements)
    kinds = 2 if bias else 1
    if weights % kinds:
        raise SpecError(f"weights is {weights}; expected as many scales as biases, or bias=False")
    if elements % (weights // kinds):
        raise SpecError(f"elements is {elements}; expected a multiple of the scales, which are {weights // kinds}")
    return elementwise_regimes(weights, kinds * elements)


def prelu(num_parameters: int, elements: int) -> Regimes:
    """Return the regimes of nn.PReLU: y = max(0, x) + a·min(0, x) (He et al., "Delving deep into rectifiers", 2015).

    Shared is num_parameters. Every other regime has an a for each element; all of them are live, since any element may
    be negative. A PReLU has no MACs.

    Args:
        num_parameters: 1, or the number of channels.
        elements: elements of the output.

    Raises:
        SpecError: the elements are not a multiple of the parameters.
    """
    check_whole(num_parameters=num_parameters, elements=elements)
    if elements % num_parameters:
        raise SpecError(f"elements is {elements}; expected a multiple of num_parameters, which is {num_parameters}")
    return elementwise_regimes(num_parameters, elements)
