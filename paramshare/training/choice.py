"""Which engine computes a spec, and why. Plain data: torch is not needed to choose."""

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, get_args

from paramshare.errors import SpecError
from paramshare.recipes.dynamicnet.recipe import options_of
from paramshare.recipes.spec import Arithmetic, Spec
from paramshare.recipes.target import target_of

__all__ = ["ENGINES", "Choice", "Engine", "EngineName", "choose_engine"]

EngineName = Literal["reference", "exact", "gram"]
Engine = Literal["auto", EngineName]
ENGINES: Final[tuple[Engine, ...]] = ("auto", *get_args(EngineName))

_ANYWHERE: Final = ("cpu", "cuda", "mps")


class _Able(NamedTuple):
    """The capabilities of an engine."""

    devices: tuple[str, ...]
    arithmetic: Arithmetic


_ENGINES: Final[dict[str, dict[EngineName, _Able]]] = {
    "dynamicnet": {
        "reference": _Able(_ANYWHERE, "direct"),
        "exact": _Able(("cpu",), "direct"),
        "gram": _Able(("cpu", "cuda"), "gram"),
    },
}
_OF_OTHERS: Final[dict[EngineName, _Able]] = {"reference": _Able(_ANYWHERE, "direct")}


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine for a spec.

    Args:
        spec: the requested spec with the arithmetic of the engine.
        engine: the name of the engine.
        reason: the reason for the choice, in a few words.
    """

    spec: Spec
    engine: EngineName
    reason: str

    @property
    def together(self) -> bool:
        """Return whether many seeds are trained at once."""
        return self.engine == "gram" and _kind(self.spec) == "cuda"


def choose_engine(spec: Spec, engine: Engine = "auto") -> Choice:
    """Choose the engine for a spec.

    Args:
        engine: `reference` is the definition, the plain loop; `exact` gives the same bits about twice as fast, on the
            CPU; `gram` computes the same mathematics with other roundings, several times as fast on the CPU and with
            many seeds at once on CUDA. `auto` takes exact on the CPU, gram on CUDA, reference elsewhere.

    Raises:
        SpecError: the engine cannot run the spec, or there is none of that name.
    """
    if engine not in ENGINES:
        raise SpecError(f"there is no engine called {engine!r}; expected {', '.join(ENGINES)}")
    target = target_of(spec).name
    name, reason = _fastest(spec) if engine == "auto" else (engine, "asked for")
    engines = _ENGINES.get(target, _OF_OTHERS)
    if name not in engines:
        raise SpecError(f"the engine {name} does not train {target}; expected {' or '.join(('auto', *engines))}")
    devices, arithmetic = engines[name]
    if _kind(spec) not in devices:
        able = " and ".join(devices)
        raise SpecError(
            f"the engine {name} runs on {able}, not on {spec.device}; expected the engine reference or auto"
        )
    if spec.arithmetic not in ("direct", arithmetic):
        raise SpecError(
            f"the spec's arithmetic is {spec.arithmetic}, the engine {name}'s is {arithmetic}; "
            f"expected the engine {spec.arithmetic} or auto"
        )
    return Choice(replace(spec, arithmetic=arithmetic), name, reason)


def _fastest(spec: Spec) -> tuple[EngineName, str]:
    """Return the engine that `auto` means, with the reason: exact on the CPU, the fastest on other devices."""
    kind = _kind(spec)
    if spec.recipe.name not in _ENGINES:
        return "reference", "the one engine that trains it"
    if spec.arithmetic == "gram":
        return "gram", "the spec's arithmetic is gram"
    if kind == "cpu":
        return "exact", "the reference's bits on a CPU in the least time"
    options = options_of(spec)
    batch_size, input_size = options.batch_size, options.input_size
    if kind == "cuda" and batch_size < 2 * input_size:
        return "gram", "many seeds at once on CUDA"
    if kind == "cuda":
        return "reference", f"gram saves nothing where batch_size {batch_size} is 2 × input_size or more"
    return "reference", f"no other engine runs on {kind}"


def _kind(spec: Spec) -> str:
    return spec.device.partition(":")[0]
