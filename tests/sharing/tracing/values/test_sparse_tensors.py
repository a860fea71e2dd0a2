"""Proves that products with sparse tensors count their stored elements, and that other operations are named."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze
from paramshare.errors import SpecError
from paramshare.sharing.report import SharingReport

NODES, STORED = 6, 12


def adjacency() -> Tensor:
    return (torch.eye(NODES) + torch.eye(NODES).roll(1, 0)).to_sparse()


class Graph(nn.Module):
    """A linear layer from 4 to 3 features of each node, and a function of the layer, the nodes and the adjacency."""

    def __init__(self, function: Callable[..., Tensor], held: Tensor | None = None) -> None:
        super().__init__()
        self.layer, self.function, self.held = nn.Linear(4, 3), function, nn.Buffer(held)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        return self.function(self.layer, x, self.held if given is None else given)


PRODUCTS = [
    lambda layer, x, a: layer(a @ x),
    lambda layer, x, a: layer(torch.sparse.mm(a, x)),
    lambda layer, x, a: layer(a.coalesce() @ x) if a.is_sparse else layer(a @ x),
    lambda layer, x, a: layer(torch.sparse.addmm(torch.zeros(4), a, x)),
]


def of_nodes(function: Callable[..., Tensor], matrix: Tensor, is_input: bool) -> SharingReport:
    nodes = torch.empty(NODES, 4)
    if is_input:
        return analyze(Graph(function), args=(nodes, matrix))
    return analyze(Graph(function, matrix), args=(nodes,))


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("is_input", [True, False], ids=["input", "buffer"])
@pytest.mark.parametrize("compressed", [True, False], ids=["csr", "coo"])
@pytest.mark.parametrize("product", PRODUCTS)
def test_product_with_a_sparse_matrix_has_a_mac_for_each_stored_element_and_column(
    product: Callable[..., Tensor], compressed: bool, is_input: bool
) -> None:
    matrix = adjacency().to_sparse_csr() if compressed else adjacency()
    totals = of_nodes(product, matrix, is_input).totals
    assert totals.macs == STORED * 4 + NODES * 12
    assert (totals.shared, totals.per_use, totals.unshared, totals.unused) == (15, 15, NODES * 15, 0)


def test_sparse_matrix_made_from_edges_of_the_input_has_a_mac_for_each_edge() -> None:
    def message(layer: nn.Module, x: Tensor, edges: Tensor) -> Tensor:
        matrix = torch.sparse_coo_tensor(edges, torch.ones(edges.shape[1]), (NODES, NODES))
        return torch.as_tensor(layer(matrix @ x))

    totals = of_nodes(message, torch.zeros(2, 9, dtype=torch.long), is_input=True).totals
    assert (totals.macs, totals.unshared) == (9 * 4 + NODES * 12, NODES * 15)


def test_weight_multiplied_with_a_sparse_input_has_a_copy_for_each_stored_element() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(NODES, 5))

        def forward(self, matrix: Tensor) -> Tensor:
            return torch.sparse.mm(matrix, self.weight)

    totals = analyze(Embedded(), args=(adjacency(),)).totals
    assert totals.unshared == totals.macs == STORED * 5


def test_sparse_buffer_that_becomes_dense_is_a_known_constant() -> None:
    totals = of_nodes(lambda layer, x, a: layer(a.to_dense() @ x), adjacency(), is_input=False).totals
    assert totals.macs == NODES * NODES * 4 + NODES * 12


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda layer, x, a: layer(x) * torch.sparse.sum(a), "aten.values"),
        (lambda layer, x, a: layer((a * 2) @ x), "aten.mul"),
        (lambda layer, x, a: layer(x.to_sparse().to_dense()), "aten::_to_sparse"),
    ],
)
def test_operation_that_reads_sparse_values_is_named(function: Callable[..., Tensor], operation: str) -> None:
    with pytest.raises(SpecError) as refused:
        of_nodes(function, adjacency(), is_input=True)
    assert f"torch cannot run {operation}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_sparse_parameter_is_refused_in_one_line() -> None:
    model = Graph(lambda layer, x, _: layer(x))
    model.weight = nn.Parameter(adjacency())
    with pytest.raises(SpecError, match="a parameter of the model is sparse_coo, which cannot be traced; give"):
        analyze(model, (4,))


@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning", "ignore:The PyTorch API of nested:UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        adjacency,
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: torch.zeros(4, 4).to_mkldnn(),
    ],
    ids=["sparse", "nested", "mkldnn"],
)
def test_unused_tensor_of_any_layout_does_not_stop_the_count(make: Callable[[], Tensor]) -> None:
    model = nn.Linear(4, 4)
    model.extra = make()
    assert analyze(model, (4,)).totals.unshared == 20
