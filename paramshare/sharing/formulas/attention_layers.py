"""Closed formula for multi-head attention."""

from paramshare.errors import SpecError
from paramshare.sharing.formulas.linear_layers import linear
from paramshare.sharing.formulas.regimes import Regimes
from paramshare.sharing.formulas.sizes import check_whole

__all__ = ["attention"]


def attention(
    embed_dim: int,
    num_heads: int,
    length: int,
    source_length: int | None = None,
    kdim: int | None = None,
    vdim: int | None = None,
    bias: bool = True,
) -> Regimes:
    """Return the regimes of nn.MultiheadAttention of (length, embed_dim) on (source_length, kdim) and (.., vdim).

    The layer is the sum of four linear layers: the queries' E → E and the output's E → E at L positions, the keys'
    kdim → E and the values' vdim → E at S positions. The products of data with data add 2·L·S·E MACs without weights:
    the scores and the weighted sums of Vaswani et al., "Attention is all you need" (2017), section 3.2, over all heads.

    Args:
        embed_dim, num_heads: E, and the number of heads, which divides E.
        length: L, positions of the queries.
        source_length: S, positions of keys and values. Defaults to L.
        kdim, vdim: features of keys and values. Default to E.
        bias: True if the four linear layers have biases.

    Raises:
        SpecError: a size is impossible.
    """
    source = length if source_length is None else source_length
    keys, values = (embed_dim if dim is None else dim for dim in (kdim, vdim))
    check_whole(embed_dim=embed_dim, num_heads=num_heads, length=length, source_length=source, kdim=keys, vdim=values)
    if embed_dim % num_heads:
        raise SpecError(f"embed_dim is {embed_dim}; expected a multiple of num_heads, which is {num_heads}")
    queries_and_output = linear(embed_dim, embed_dim, bias, length) + linear(embed_dim, embed_dim, bias, length)
    keys_and_values = linear(keys, embed_dim, bias, source) + linear(values, embed_dim, bias, source)
    macs = length * source * (embed_dim + embed_dim)
    return queries_and_output + keys_and_values + Regimes(0, 0, 0, 0, macs, macs)
