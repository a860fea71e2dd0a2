"""One pass over a model that is being untied: what is called how often, and what is still shared at the end."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from paramshare.sharing.calls import ROOT
from paramshare.sharing.copies import stray_parameters
from paramshare.sharing.guesses import draw_warnings
from paramshare.sharing.inputs import Sample
from paramshare.sharing.regions import covered_twice, storage_of
from paramshare.sharing.trace import Place, Trace, trace

__all__ = ["COPY_NAME", "Given", "Pass", "Shape", "left_shared"]

Shape = tuple[int, ...]

COPY_NAME: Final = re.compile(r"\.copies\.(\d+)")
"""What `Unrolled` adds to a name."""

_LISTED: Final = 5
"""How many layers a warning names for each reason."""


@dataclass(slots=True)
class Given:
    """The shapes of the arguments and of the result of one call of a module.

    Args:
        args, kwargs: the shape of each argument, and None for what is not a tensor.
        out: the shape of its result, and None for what is not a tensor.
    """

    args: tuple[Shape | None, ...]
    kwargs: Mapping[str, Shape | None]
    out: Shape | None = None

    @property
    def first(self) -> Shape:
        """Return the shape of the first tensor; empty if there is none."""
        return next((shape for shape in (*self.args, *self.kwargs.values()) if shape is not None), ())

    def shape(self, place: int, name: str) -> Shape | None:
        """Return the shape of the argument that is called `name` and can stand at `place`."""
        return self.kwargs[name] if name in self.kwargs else (*self.args, *[None] * (place + 1))[place]


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over a model on the meta device.

    Args:
        model: what was called.
        calls: by a module's first name, what each call was given.
        recursive: the modules that called themselves.
        hooked: the modules that have hooks of their own.
        trace: which weight was used where.
    """

    model: nn.Module
    calls: Mapping[str, Sequence[Given]]
    recursive: Collection[str]
    hooked: Collection[str]
    trace: Trace

    @classmethod
    def of(cls, model: nn.Module, sample: Sample) -> "Pass":
        """Call `model`, on the meta device and nobody else's: hooks are put on it and stay there."""
        model.eval()
        calls: defaultdict[str, list[Given]] = defaultdict(list)
        active: list[tuple[str, Given]] = []
        recursive: set[str] = set()

        def enter(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], name: str) -> None:
            given = Given(tuple(map(_shape_of, args)), {key: _shape_of(value) for key, value in kwargs.items()})
            calls[name].append(given)
            if any(name == other for other, _ in active):
                recursive.add(name)
            active.append((name, given))

        def leave(_: nn.Module, _args: object, out: object) -> None:
            active.pop()[1].out = _shape_of(out)

        hooked = {name for name, one in model.named_modules() if one._forward_pre_hooks or one._forward_hooks}
        for name, module in model.named_modules():
            module.register_forward_pre_hook(partial(enter, name=name), with_kwargs=True)
            module.register_forward_hook(leave)
        return cls(model, calls, recursive, hooked, trace(model, sample))


def _shape_of(value: object) -> Shape | None:
    """Return the shape of a tensor, and of a PackedSequence that of its data: (steps, features) for one sample."""
    tensor = value.data if isinstance(value, PackedSequence) else value
    return tuple(tensor.shape) if isinstance(tensor, Tensor) else None


def left_shared(seen: Pass, wanted: Collection[str], drawn: Collection[str]) -> Iterator[str]:
    """Yield a sentence for what stays shared in a twin, and one for what was assumed.

    Args:
        seen: a pass over the twin.
        wanted: the axes that were to be untied.
        drawn: the generators that the model draws from.
    """
    if clauses := list(_shared_still(seen, wanted)):
        yield f"not everything was untied: {'; '.join(clauses)}"
    if assumed := (*seen.trace.warnings, *draw_warnings(drawn)):
        yield f"the twin is made for what one pass showed: {'; '.join(assumed)}"


def _shared_still(seen: Pass, wanted: Collection[str]) -> Iterator[str]:
    """A clause for each reason why not everything was untied, with its layers."""
    kinds = {name or ROOT: type(module).__name__ for name, module in seen.model.named_modules()}
    uses = seen.trace.uses

    def clause(reason: str, layers: Iterable[str]) -> Iterator[str]:
        named = dict.fromkeys(f"{COPY_NAME.sub('', layer)} ({kinds[layer]})" for layer in layers)
        more = f" and {len(named) - _LISTED} more" if len(named) > _LISTED else ""
        if named:
            yield f"{reason}: {', '.join(list(named)[:_LISTED])}{more}"

    if "tie" in wanted:
        for places in _by_storage(uses).values():
            if covered_twice(place.region for place in places):
                yield from clause("one weight used by several layers", (place.layer for place in places))
    if "depth" in wanted:
        yield from clause("weights used again within one call", (at.layer for at, use in uses.items() if use.times > 1))
    if "space" in wanted:
        shared = (at.layer for at, use in uses.items() if use.unshared > use.per_use)
        yield from clause("shared between positions, without an unshared module", shared)
    if "dense" in wanted:
        local = (at.layer for at, use in uses.items() if use.dense > use.per_use)
        yield from clause("not connected to every input, without a dense module", local)
    strays = (parameter for _, parameter in stray_parameters(seen.model))
    held = set(map(storage_of, (*seen.model.parameters(), *strays)))
    outside = (at.layer for at in uses if at.storage not in held)
    yield from clause("parameters that the model does not hold, still those of the original", outside)
    if wanted != {"tie"}:
        used = _by_storage(uses)
        idle = (
            name or ROOT
            for name, module in seen.model.named_modules()
            for parameter in module.parameters(recurse=False)
            if storage_of(parameter) not in used
        )
        yield from clause("not used in this pass", idle)


def _by_storage(uses: Iterable[Place]) -> dict[int, list[Place]]:
    found: dict[int, list[Place]] = {}
    for place in uses:
        found.setdefault(place.storage, []).append(place)
    return found
