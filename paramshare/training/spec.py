"""TrainSpec: everything that determines the numbers of one training run, and its hash."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeGuard, cast, get_args

from paramshare.errors import DeviceError, SpecError

__all__ = [
    "ARITHMETICS", "DEPTHS", "LARGEST_FLOAT", "LARGEST_SIZE", "VARIANTS", "Arithmetic", "TrainSpec", "Variant",
    "canonical_device", "check_seed", "hashed", "is_int", "number",
]  # fmt: skip

Variant = Literal["shared", "untied"]
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)

Arithmetic = Literal["direct", "gram"]
ARITHMETICS: Final[tuple[Arithmetic, ...]] = get_args(Arithmetic)

DEPTHS: Final = range(4)
"""How often the middle layer can be applied in one step: the article's `random.randint(0, 3)`."""

KEY_VERSION: Final = "dynamicnet/1"
"""Part of every key. Raise the number when the same spec gives other numbers than before."""

LARGEST_FLOAT: Final = (2 - 2**-23) * 2.0**127
"""The largest float32. Torch multiplies no float32 by a larger number."""

LARGEST_SIZE: Final = 2**31 - 1
"""The most steps, samples or features: the number of bytes of two such sizes fits no 64 bits."""

_SEED_END: Final = 2**63
_SIZES: Final = ("batch_size", "input_size", "hidden_size", "output_size", "steps")
_RANGES: Final[tuple[tuple[str, Callable[[float], bool], str], ...]] = (
    ("learning_rate", lambda value: 0 < value <= LARGEST_FLOAT, "a number above 0 and up to 3.4e38, such as 1e-4"),
    ("momentum", lambda value: 0 <= value < 1, "a number from 0 up to, not including, 1"),
)
_DEVICE: Final = re.compile(r"cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """One training run of DynamicNet. The defaults are the article's.

    Args:
        seed: of the data, the initial weights and the depths; 0 ≤ seed < 2**63.
        variant: `shared` (one middle layer) or `untied` (a middle layer of its own for each application).
        device: `cpu`, `mps`, `cuda:N`; `cuda` means `cuda:0`.
        batch_size, input_size, output_size: x is (batch_size, input_size), y is (batch_size, output_size).
        hidden_size: the width of both hidden activations.
        steps: SGD steps, each on the whole batch.
        learning_rate, momentum: SGD's; 0 < learning_rate ≤ 3.4e38, 0 ≤ momentum < 1.
        arithmetic: `direct` adds up as the reference does; `gram` takes the first layer through x xᵀ, which is the same
            mathematics with other roundings, and so other numbers.

    Raises:
        SpecError: a value is out of range.
        DeviceError: `device` is not a device's name. Whether the device is there is not asked here.
    """

    seed: int
    variant: Variant = "shared"
    device: str = "cpu"
    batch_size: int = 64
    input_size: int = 1000
    hidden_size: int = 100
    output_size: int = 10
    steps: int = 500
    learning_rate: float = 1e-4
    momentum: float = 0.9
    arithmetic: Arithmetic = "direct"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, choices in (("variant", VARIANTS), ("arithmetic", ARITHMETICS)):
            if getattr(self, name) not in choices:
                raise SpecError(f"{name} is {getattr(self, name)!r}; expected {' or '.join(choices)}")
        for name in _SIZES:
            value = getattr(self, name)
            if not is_int(value) or not 1 <= value <= LARGEST_SIZE:
                raise SpecError(f"{name} is {value!r}; expected a whole number from 1 to 2**31 - 1")
        object.__setattr__(self, "device", canonical_device(self.device))
        for name, fits, expected in _RANGES:
            object.__setattr__(self, name, number(name, getattr(self, name), fits, expected))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample of what the net takes."""
        return (self.input_size,)

    def as_dict(self) -> dict[str, str | int | float]:
        """Every field by its name, in the order of the fields."""
        return cast(dict[str, str | int | float], asdict(self))

    def key(self) -> str:
        """A hash (32 hex digits) of all that determines the run's numbers, and of nothing else.

        The same on every machine and in every process. Equal keys mean equal numbers on the same device model,
        library build and thread count (PyTorch promises no more; those are provenance, not identity).
        """
        fields = self.as_dict()
        if self.arithmetic == "direct":  # as in the keys of the time when there was no other
            del fields["arithmetic"]
        return hashed(KEY_VERSION, fields)


def hashed(version: str, fields: Mapping[str, str | int | float | None]) -> str:
    """The key (32 hex digits) of a spec with these fields, of a kind and version of spec."""
    canonical = json.dumps({"key": version, **fields}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def canonical_device(name: str) -> str:
    """`name` as it stands in a spec: `cpu`, `mps` or `cuda:N`.

    Raises:
        DeviceError: `name` is none of these.
    """
    if not isinstance(name, str) or not _DEVICE.fullmatch(name):
        raise DeviceError(f"there is no device called {name!r}; expected cpu, cuda, cuda:N or mps")
    kind, _, index = name.partition(":")
    return f"cuda:{int(index or 0)}" if kind == "cuda" else name


def check_seed(seed: object) -> None:
    """Check that a value is a seed.

    Raises:
        SpecError: it is not a whole number from 0 to 2**63 - 1.
    """
    if not is_int(seed) or not 0 <= seed < _SEED_END:
        raise SpecError(f"seed is {seed!r}; expected a whole number from 0 to 2**63 - 1")


def is_int(value: object) -> TypeGuard[int]:
    """Return whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def number(name: str, value: object, fits: Callable[[float], bool], expected: str) -> float:
    """Return the value of a field as a float: 0, 0.0 and -0.0 are one, and so have one key.

    Raises:
        SpecError: it is no number, or does not fit.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and fits(value):
        return float(value) + 0.0  # -0.0 + 0.0 is 0.0
    raise SpecError(f"{name} is {value!r}; expected {expected}")
