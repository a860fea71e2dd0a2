"""What an analysis found, as plain data: totals, a row a layer, the ties, the warnings; as a table, JSON or a figure.

The regimes (`regimes` has the formula of each layer type):

shared
    The free parameters, as written: each element of storage that a registered parameter covers, once.
per_use
    Each use its own copy: a module that is called three times has its weights three times, a matrix tied to two
    layers twice. The time steps of one call of an RNN are sites, not uses; what the pass does not use has no copy.
unshared
    Each use and each site its own copy: locally connected layers, one matrix a time step, one table a position. These
    are the connections ("links") of LeCun, "Generalization and network design strategies" (1989); see also Goodfellow,
    Bengio and Courville, "Deep Learning" (2016), sections 9.2 and 9.5 (unshared convolution). Nominal: taps that fall
    on padding count. What depends on no input has sites like everything else: a layer that is given learned queries has
    one for each of them, and the queries have one use.
unshared_live
    The same without the copies that never meet data: taps on padding, recurrent weights on a zero initial state, rows
    of a table that a fixed index never selects. The non-zeros of the layer's Jacobian.
dense
    Each output of a layer wired to each of its inputs, at every position: no local connectivity. What connects
    nothing (biases, norms, other elementwise weights) stays as in unshared.
unused
    The part of shared that this pass did not touch.

All counts are for one sample: the batch is not sharing. Unsharing changes no MACs; removing locality does.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
"""The version of the JSON form; it changes when a field is renamed, removed or means something else."""

REGIMES: Final = ("shared", "per_use", "unshared", "unshared_live", "dense")

COUNTS: Final = (*REGIMES, "unused", "used", "macs", "dense_macs")
"""Every number of `Counts`."""

MAIN_REGIMES: Final = ("shared", "unshared", "dense")
"""What a chart or a short table shows."""

Sort = Literal["order", "factor", "shared", "unshared", "dense", "macs"]
SORTS: Final[tuple[Sort, ...]] = ("order", "factor", "shared", "unshared", "dense", "macs")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one regime's weights.

    Args:
        weights: of all weights, in their own types.
        trainable: of those that require a gradient.
    """

    weights: int
    trainable: int

    @property
    def with_gradient(self) -> int:
        """Weights and a gradient for each that is trained."""
        return self.weights + self.trainable

    @property
    def with_adam(self) -> int:
        """Weights, gradients and Adam's two moments (Kingma and Ba, 2015), which torch keeps in the weights' types."""
        return self.weights + 3 * self.trainable

    def as_dict(self) -> dict[str, int]:
        """The three sums."""
        return {"weights": self.weights, "with_gradient": self.with_gradient, "with_adam": self.with_adam}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The elements of each regime (see the module), for one sample.

    Args:
        shared, per_use, unshared, unshared_live, dense: parameters.
        unused: the part of `shared` that this pass did not touch.
        used: the distinct elements that were used here, counted here or elsewhere.
        macs: multiply-accumulates as shared, per use and unshared alike.
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
        """The sharing factor: unshared / shared, over what was used. None where nothing was."""
        return self.unshared / self.used if self.used else None

    @classmethod
    def total(cls, parts: Sequence["Counts"], used: int) -> "Counts":
        """The sum of parts; `used` is not a sum, for parts can be tied to each other."""
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
        """Plain data, with the factor."""
        names = (*COUNTS, "factor")
        memory = {regime: self.memory[regime].as_dict() for regime in REGIMES}
        return {**{name: getattr(self, name) for name in names}, "memory": memory}


@dataclass(frozen=True, slots=True)
class LayerSharing:
    """What one module does with weights itself, not through modules within it.

    Args:
        name: its dotted name, the first if it has several; `(model)` for the model itself.
        kind: its class.
        uses: how many times weights are used here: calls, or operations where a call uses a weight more than once.
        tied: by the name of an earlier layer, how many elements are used here that were counted there.
        counts: the numbers. Rows add up to the totals, but for `used`.
    """

    name: str
    kind: str
    uses: int
    tied: Mapping[str, int]
    counts: Counts

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
        own = {"name": self.name, "kind": self.kind, "uses": self.uses, "tied": dict(self.tied)}
        return {**own, **self.counts.as_dict()}


@dataclass(frozen=True, slots=True)
class Tie:
    """Several names over one storage.

    Args:
        names: every registered name whose elements overlap another's, each spelt as `named_parameters` would.
        elements: distinct elements that more than one of the names covers.
    """

    names: tuple[str, ...]
    elements: int


@dataclass(frozen=True, slots=True)
class SharingReport:
    """One analysis.

    Args:
        model: what was analysed, in words.
        input: what it was given, in words.
        totals: of the whole model.
        layers: a row for each module that uses or owns parameters, in the model's order.
        ties: which names share storage.
        warnings: what could not be seen, or holds for this input only; each names its place.
    """

    model: str
    input: str
    totals: Counts
    layers: tuple[LayerSharing, ...]
    ties: tuple[Tie, ...]
    warnings: tuple[str, ...]

    def rows(self, depth: int | None = None, sort: Sort = "order") -> tuple[LayerSharing, ...]:
        """The layers, joined below `depth` levels of names and sorted.

        Args:
            depth: how many components of a name are kept; None keeps all.
            sort: the model's order, or by a count, the largest first.

        Raises:
            SpecError: for a negative depth or an unknown sort.
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
        """The report as plain text: rows, totals, ties and warnings. Takes and raises what `rows` does."""
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

    def as_dict(self) -> dict[str, object]:
        """Plain data under `SCHEMA`: numbers, strings, lists and mappings."""
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
        """The report as one JSON object under `SCHEMA`."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)

    def figure(self, depth: int | None = None, sort: Sort = "order") -> "Figure":
        """Bars on a log axis: shared, unshared and dense of each row. Takes and raises what `rows` does."""
        from paramshare.plots import sharing_bars  # matplotlib, only for those who draw

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
    """A row a regime: parameters, bytes, MACs."""
    rows: list[tuple[str, ...]] = [("regime", "parameters", "memory", "with gradient", "with Adam", "MACs")]
    for regime in REGIMES:
        memory = totals.memory[regime]
        bytes_ = (memory.weights, memory.with_gradient, memory.with_adam)
        macs = totals.dense_macs if regime == "dense" else totals.macs
        rows.append((regime, f"{getattr(totals, regime):,}", *map(readable_bytes, bytes_), f"{macs:,}"))
    return rows


def _joined(layers: Sequence[LayerSharing], depth: int) -> list[LayerSharing]:
    """A row for each prefix of names, in the order of the first."""
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
