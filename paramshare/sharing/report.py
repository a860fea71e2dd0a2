"""The result of an analysis as plain data: totals, a row for each layer, ties, warnings; as a table, JSON or a figure.

The regimes (`formulas` has the formula of each layer type):

shared
    The free parameters, as written: each element of storage that a registered parameter covers, once.
per_use
    A copy for each use: a module that is called three times has its weights three times, a matrix tied to two layers
    twice. The time steps of one call of an RNN are sites, not uses; unused parameters have no copy.
unshared
    A copy for each use and each site: locally connected layers, one matrix for each time step, one table for each
    position. The copies are the connections ("links") of LeCun, "Generalization and network design strategies" (1989);
    see also Goodfellow, Bengio and Courville, "Deep Learning" (2016), sections 9.2 and 9.5 (unshared convolution). Taps
    on padding count. A layer whose input is learned also has sites: one for each learned query, for example, and the
    queries have one use.
unshared_live
    The unshared copies that meet data: not taps on padding, recurrent weights on a zero initial state, or rows of a
    table that a fixed index never selects. The number equals the non-zeros of the layer's Jacobian.
dense
    Each output of a layer connected to each of its inputs, at every position: no local connectivity. Elementwise
    weights (biases, norms) have as many copies as in unshared.
unused
    The part of shared that this pass did not use.

All counts are for one sample: the batch is not sharing. Unsharing does not change the MACs; removing locality does.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Final, Literal

from paramshare.errors import SpecError
from paramshare.sharing.text import aligned, readable_bytes, readable_factor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COUNTS",
    "MAIN_REGIMES",
    "REGIMES",
    "SCHEMA",
    "SORTS",
    "Counts",
    "LayerSharing",
    "Memory",
    "SharingReport",
    "Sort",
    "Tie",
]

SCHEMA: Final = "paramshare.sharing/1"
"""The version of the JSON form. The version changes if a field is renamed or removed, or changes its meaning."""

REGIMES: Final = ("shared", "per_use", "unshared", "unshared_live", "dense")

COUNTS: Final = (*REGIMES, "unused", "used", "macs", "dense_macs")
"""Every number of `Counts`."""

MAIN_REGIMES: Final = ("shared", "unshared", "dense")
"""The regimes in a chart or a short table."""

Sort = Literal["order", "factor", "shared", "unshared", "dense", "macs"]
SORTS: Final[tuple[Sort, ...]] = ("order", "factor", "shared", "unshared", "dense", "macs")


@dataclass(frozen=True, slots=True)
class Memory:
    """The bytes of one regime's weights.

    Args:
        weights: bytes of all weights, in their own dtypes.
        trainable: bytes of the weights that require a gradient.
    """

    weights: int
    trainable: int

    @property
    def with_gradient(self) -> int:
        """Return the bytes of weights and gradients."""
        return self.weights + self.trainable

    @property
    def with_adam(self) -> int:
        """Return the bytes of weights, gradients and the two moments of Adam (Kingma and Ba, 2015).

        torch keeps the moments in the weights' dtypes.
        """
        return self.weights + 3 * self.trainable

    def as_dict(self) -> dict[str, int]:
        """Return the three sums."""
        return {"weights": self.weights, "with_gradient": self.with_gradient, "with_adam": self.with_adam}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The elements of each regime (see the module), for one sample.

    Args:
        shared, per_use, unshared, unshared_live, dense: parameters.
        unused: the part of `shared` that this pass did not use.
        used: the distinct elements used by the layer, including elements that another layer counts.
        macs: multiply-accumulates when shared, per use or unshared.
        dense_macs: multiply-accumulates when dense.
        memory: bytes by regime.
    """

    shared: int
    per_use: int
    unshared: int
    unshared_live: int
    dense: int
    unused: int
    used: int
    macs: int
    dense_macs: int
    memory: Mapping[str, Memory]

    @property
    def factor(self) -> float | None:
        """Return the sharing factor: unshared / shared, over used elements. None if no elements were used."""
        return self.unshared / self.used if self.used else None

    @classmethod
    def total(cls, parts: Sequence["Counts"], used: int) -> "Counts":
        """Return the sum of parts.

        Args:
            parts: the counts to add.
            used: the distinct elements used by all parts; not a sum, since parts can be tied.
        """
        sums = {name: sum(getattr(part, name) for part in parts) for name in (*REGIMES, "unused", "macs", "dense_macs")}
        memory = {
            regime: Memory(
                sum(part.memory[regime].weights for part in parts),
                sum(part.memory[regime].trainable for part in parts),
            )
            for regime in REGIMES
        }
        return cls(**sums, used=used, memory=memory)

    def as_dict(self) -> dict[str, object]:
        """Return plain data, with the factor."""
        names = (*COUNTS, "factor")
        memory = {regime: self.memory[regime].as_dict() for regime in REGIMES}
        return {**{name: getattr(self, name) for name in names}, "memory": memory}


@dataclass(frozen=True, slots=True)
class LayerSharing:
    """The counts of one module without its submodules.

    Args:
        name: the dotted name, the first of several names; `(model)` for the model itself.
        kind: the class.
        uses: the number of uses of weights: calls, or operations if a call uses a weight more than once.
        tied: the number of elements that the module uses and an earlier layer counts, by the name of that layer.
        counts: the numbers. Rows add up to the totals, except for `used`.
    """

    name: str
    kind: str
    uses: int
    tied: Mapping[str, int]
    counts: Counts

    def as_dict(self) -> dict[str, object]:
        """Return plain data."""
        own = {"name": self.name, "kind": self.kind, "uses": self.uses, "tied": dict(self.tied)}
        return {**own, **self.counts.as_dict()}


@dataclass(frozen=True, slots=True)
class Tie:
    """Several names with overlapping elements in one storage.

    Args:
        names: the registered names, as in `named_parameters`.
        elements: the number of distinct elements that more than one of the names covers.
    """

    names: tuple[str, ...]
    elements: int


@dataclass(frozen=True, slots=True)
class SharingReport:
    """The result of one analysis.

    Args:
        model: the name of the model.
        input: a description of the input.
        totals: the counts of the whole model.
        layers: a row for each module that uses or owns parameters, in the model's order.
        ties: groups of names with overlapping elements.
        warnings: sentences about numbers that are assumptions or hold for this input only; each has its place.
    """

    model: str
    input: str
    totals: Counts
    layers: tuple[LayerSharing, ...]
    ties: tuple[Tie, ...]
    warnings: tuple[str, ...]

    def rows(self, depth: int | None = None, sort: Sort = "order") -> tuple[LayerSharing, ...]:
        """Return the rows of the layers, joined and sorted.

        Args:
            depth: the number of components of a name to keep; rows with the same components are joined. Defaults to
                None: all components.
            sort: `order` for the model's order, or a count, the largest first.

        Raises:
            SpecError: the depth is less than 1, or the sort is unknown.
        """
        if depth is not None and depth < 1:
            raise SpecError(f"depth is {depth}; expected at least 1, or None for every layer")
        if sort not in SORTS:
            raise SpecError(f"cannot sort by {sort!r}; expected one of {', '.join(SORTS)}")
        rows = self.layers if depth is None else _joined(self.layers, depth)
        if sort == "order":
            return tuple(rows)
        return tuple(sorted(rows, key=lambda row: getattr(row.counts, sort) or 0, reverse=True))

    def table(self, depth: int | None = None, sort: Sort = "order") -> str:
        """Return rows, totals, ties and warnings as plain text. Arguments and errors are those of `rows`."""
        body = [_cells(row) for row in self.rows(depth, sort)]
        total = ("total", "", f"{sum(row.uses for row in self.layers):,}", *_numbers(self.totals))
        factor = readable_factor(self.totals.factor)
        blocks = [
            f"{self.model}, one sample of {self.input}",
            aligned([_HEAD, *body, total], left=2),
            aligned(_summary(self.totals), left=1),
            f"sharing factor {factor} (unshared / shared); unused in this pass: {self.totals.unused:,}",
        ]
        if self.ties:
            lines = (f"  {' = '.join(tie.names)}: {tie.elements:,} elements" for tie in self.ties)
            blocks.append("\n".join(("ties", *lines)))
        if self.warnings:
            blocks.append("\n".join(("warnings", *(f"  {warning}" for warning in self.warnings))))
        return "\n\n".join(blocks)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        return f"<pre>{escape(self.table())}</pre>"

    def as_dict(self) -> dict[str, object]:
        """Return plain data under `SCHEMA`: numbers, strings, lists and mappings."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "input": self.input,
            "totals": self.totals.as_dict(),
            "layers": [layer.as_dict() for layer in self.layers],
            "ties": [asdict(tie) for tie in self.ties],
            "warnings": list(self.warnings),
        }

    def to_json(self) -> str:
        """Return the report as one JSON object under `SCHEMA`."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)

    def figure(self, depth: int | None = None, sort: Sort = "order") -> "Figure":
        """Draw the main regimes of each row as bars on a log axis. Arguments and errors are those of `rows`."""
        from paramshare.plots import sharing_bars  # matplotlib, imported only for figures

        rows = self.rows(depth, sort)
        bars = {regime: [getattr(row.counts, regime) for row in rows] for regime in MAIN_REGIMES}
        return sharing_bars([row.name for row in rows], bars, f"{self.model}: parameters by regime")


_HEAD: Final = ("layer", "type", "uses", "shared", "unshared", "dense", "MACs", "factor")


def _cells(row: LayerSharing) -> tuple[str, ...]:
    return row.name, row.kind, f"{row.uses:,}", *_numbers(row.counts)


def _numbers(counts: Counts) -> tuple[str, ...]:
    numbers = (counts.shared, counts.unshared, counts.dense, counts.macs)
    return *(f"{number:,}" for number in numbers), readable_factor(counts.factor)


def _summary(totals: Counts) -> list[tuple[str, ...]]:
    """Return a row for each regime: parameters, bytes, MACs."""
    rows: list[tuple[str, ...]] = [("regime", "parameters", "memory", "with gradient", "with Adam", "MACs")]
    for regime in REGIMES:
        memory = totals.memory[regime]
        bytes_ = (memory.weights, memory.with_gradient, memory.with_adam)
        macs = totals.dense_macs if regime == "dense" else totals.macs
        rows.append((regime, f"{getattr(totals, regime):,}", *map(readable_bytes, bytes_), f"{macs:,}"))
    return rows


def _joined(layers: Sequence[LayerSharing], depth: int) -> list[LayerSharing]:
    """Return a row for each prefix of names, in the order of first appearance."""
    groups: dict[str, list[LayerSharing]] = {}
    for layer in layers:
        groups.setdefault(".".join(layer.name.split(".")[:depth]), []).append(layer)
    return [_join(name, group) for name, group in groups.items()]


def _join(name: str, group: Sequence[LayerSharing]) -> LayerSharing:
    if len(group) == 1 and group[0].name == name:
        return group[0]
    inside = {layer.name for layer in group}
    tied: dict[str, int] = {}
    for layer in group:
        for other, elements in layer.tied.items():
            if other not in inside:
                tied[other] = max(tied.get(other, 0), elements)
    own = sum(layer.counts.shared - layer.counts.unused for layer in group)
    counts = Counts.total([layer.counts for layer in group], used=own + sum(tied.values()))
    kind = group[0].kind if group[0].name == name else f"{len(group)} layers"
    return LayerSharing(name, kind, sum(layer.uses for layer in group), tied, counts)
