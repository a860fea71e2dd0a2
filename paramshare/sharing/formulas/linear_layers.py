"""Closed formulas for Linear, Bilinear and Embedding."""

from paramshare.sharing.formulas.regimes import Regimes, bias_regimes, product_regimes
from paramshare.sharing.formulas.sizes import check_whole

__all__ = ["bilinear", "embedding", "linear"]


def linear(in_features: int, out_features: int, bias: bool = True, positions: int = 1) -> Regimes:
    """Return the regimes of nn.Linear on (positions, in_features): y = x Wᵀ + b, with the same W and b everywhere.

    With T positions, D inputs and F outputs: shared D·F + F, unshared T·(D·F + F), dense (T·D)·(T·F) + T·F,
    MACs T·D·F and dense (T·D)·(T·F).

    Args:
        in_features, out_features: D, F.
        bias: True for a layer with b, of F elements.
        positions: T, the product of all dimensions between the batch and the features; 1 if there are none.

    Raises:
        SpecError: a size is not a whole number of at least 1.
    """
    check_whole(in_features=in_features, out_features=out_features, positions=positions)
    dense = (positions * in_features) * (positions * out_features)
    product = product_regimes(in_features * out_features, positions, dense)
    return product + bias_regimes(bias, out_features, positions)


def bilinear(in1_features: int, in2_features: int, out_features: int, bias: bool = True, positions: int = 1) -> Regimes:
    """Return the regimes of nn.Bilinear on (positions, in1_features) and (positions, in2_features): y = x1ᵀ A x2 + b.

    With T positions and A of (F, D1, D2): shared F·D1·D2 + F, unshared T·(F·D1·D2 + F), dense
    (T·F)·(T·D1)·(T·D2) + T·F, MACs T·F·D1·D2 (one for each element of A, the product of x1 and x2 taken as one) and
    dense (T·F)·(T·D1)·(T·D2).

    Args:
        in1_features, in2_features, out_features: D1, D2, F.
        bias: True for a layer with b, of F elements.
        positions: T, as in `linear`.

    Raises:
        SpecError: a size is not a whole number of at least 1.
    """
    check_whole(in1_features=in1_features, in2_features=in2_features, out_features=out_features, positions=positions)
    weights = in1_features * in2_features * out_features
    return product_regimes(weights, positions, weights * positions**3) + bias_regimes(bias, out_features, positions)


def embedding(num_embeddings: int, embedding_dim: int, positions: int = 1) -> Regimes:
    """Return the regimes of nn.Embedding on (positions,) of indices: a lookup, equal to a product with one-hot rows.

    With T positions and V rows of D elements: shared V·D; unshared T·V·D, a table for every position, all of it live,
    since data may pick any row; dense (T·V)·(T·D); no MACs.

    Args:
        num_embeddings, embedding_dim: V, D.
        positions: T, the number of indices in a sample.

    Raises:
        SpecError: a size is not a whole number of at least 1.
    """
    check_whole(num_embeddings=num_embeddings, embedding_dim=embedding_dim, positions=positions)
    table = num_embeddings * embedding_dim
    copies = positions * table
    return Regimes(table, copies, copies, (positions * num_embeddings) * (positions * embedding_dim), 0, 0)
