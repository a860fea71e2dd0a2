"""SweepSpec: what to sweep. One pydantic model for the command line, the settings files, Python and Prefect's form."""

import re
from dataclasses import replace
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from paramshare.errors import SpecError
from paramshare.training.choice import ENGINES, Choice, Engine, choose_engine
from paramshare.training.spec import VARIANTS, TrainSpec, Variant, canonical_device

__all__ = ["ExperimentName", "SweepSpec", "parse_seeds"]

_MOST_SEEDS: Final = 1_000_000
_NUMBERS: Final = {
    "batch_size", "input_size", "hidden_size", "output_size", "steps", "learning_rate", "momentum",
}  # fmt: skip
_SEED_PART: Final = re.compile(r"(\d+)(?::(\d+))?")


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that `text` names, in its order, each once.

    Args:
        text: `a:b` (b excluded), single values, and lists of both: `0:100`, `3,7,9`, `0:10,42`.

    Raises:
        SpecError: it is none of these, is empty, or names over a million seeds.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _SEED_PART.fullmatch(part.strip())
        if not match:
            raise SpecError(f"seeds {text!r}: {part.strip()!r} is not a seed; expected such as 0:100 or 3,7,9")
        begin = int(match[1])
        end = int(match[2]) if match[2] else begin + 1
        if begin >= end:
            raise SpecError(f"seeds {text!r}: {part.strip()!r} is empty; expected a:b with a below b, b excluded")
        if len(seeds) + end - begin > _MOST_SEEDS:
            raise SpecError(f"seeds {text!r}: more than {_MOST_SEEDS:,} seeds; sweep them in several parts")
        seeds.update(dict.fromkeys(range(begin, end)))
    TrainSpec(seed=max(seeds))  # a seed's own limits
    return tuple(seeds)


def _parse_list(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def _as_text(value: Any) -> Any:
    """A settings file may give a number or a list where the command line gives `3` or `3,7,9`."""
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_seeds(text: str) -> str:
    parse_seeds(text)
    return text


def _check_variants(text: str) -> str:
    for name in _parse_list(text):
        if name not in VARIANTS:
            raise SpecError(f"there is no variant called {name!r}; expected {', '.join(VARIANTS)} or a list of them")
    return text


def _check_devices(text: str) -> str:
    for name in _parse_list(text):
        if name != "auto":
            canonical_device(name)
    return text


def _check_engine(engine: Any) -> Any:
    if engine not in ENGINES:
        raise SpecError(f"there is no engine called {engine!r}; expected {', '.join(ENGINES)}")
    return engine


def _check_name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise SpecError(f"experiment {text!r} is not a name; expected printable characters, at least one")
    return text


ExperimentName = Annotated[str, Field(max_length=250), AfterValidator(_check_name)]


class SweepSpec(BaseModel):
    """A sweep: every variant with every seed on every device. The defaults train the article's net."""

    model_config = ConfigDict(extra="forbid")

    seeds: Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_seeds)] = Field(
        "0:10",
        description="seeds: a:b (b excluded), single values, and lists of both, such as 0:100 or 3,7,9",
    )
    devices: Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_devices)] = Field(
        "auto",
        description="auto (every device that is there), cpu, cuda, cuda:N, mps, or a list such as cpu,cuda:0",
    )
    variant: Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_variants)] = Field(
        "shared", description="shared (one middle layer), untied (one for each application), or shared,untied"
    )
    steps: int = Field(500, ge=1, description="SGD steps of each run")
    batch_size: int = Field(64, ge=1, description="rows of x and y")
    input_size: int = Field(1000, ge=1, description="features of x")
    hidden_size: int = Field(100, ge=1, description="width of the hidden layers")
    output_size: int = Field(10, ge=1, description="features of y")
    learning_rate: float = Field(1e-4, gt=0, allow_inf_nan=False, description="SGD's learning rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum")
    engine: Annotated[Engine, BeforeValidator(_check_engine)] = Field(
        "auto",
        description="what computes the runs: reference (the plain loop), exact (the same bits in half the time, on the "
        "CPU), gram (the same mathematics, other roundings; a sixth of the time, and many seeds at once on CUDA), or "
        "auto (exact on the CPU, gram on CUDA)",
    )
    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that the runs go to")
    force: bool = Field(False, description="train anew what the store already holds finished")
    workers: int | None = Field(
        None,
        ge=1,
        description="processes that train on the CPU; unless said otherwise one a core, three for two with a server",
    )

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in the order of asking."""
        return parse_seeds(self.seeds)

    @property
    def device_list(self) -> tuple[str, ...]:
        """The devices as asked for, `auto` among them."""
        return _parse_list(self.devices)

    @property
    def variant_list(self) -> tuple[Variant, ...]:
        """The variants, in the order of asking."""
        return tuple(variant for variant in _parse_list(self.variant) if variant in VARIANTS)

    def train_specs(self, devices: tuple[str, ...]) -> tuple[TrainSpec, ...]:
        """One TrainSpec for every variant, device and seed, in that order, of the arithmetic of its engine.

        Args:
            devices: the names of the devices that `devices` means on this machine.

        Raises:
            SpecError: the engine does not run on one of them.
        """
        seeds = self.seed_list
        return tuple(
            replace(choice.spec, seed=seed)
            for variant in self.variant_list
            for choice in self.choices(devices, variant)
            for seed in seeds
        )

    def choices(self, devices: tuple[str, ...], variant: Variant = "shared") -> tuple[Choice, ...]:
        """The engine of each device, and why.

        Raises:
            SpecError: the engine does not run on one of them.
        """
        numbers = self.model_dump(include=_NUMBERS)
        return tuple(
            choose_engine(TrainSpec(seed=0, variant=variant, device=device, **numbers), self.engine)
            for device in devices
        )
