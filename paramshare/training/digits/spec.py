"""DigitsSpec: everything that determines the numbers of one training run on digits, and its hash."""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, Literal, cast, get_args

from paramshare.errors import SpecError
from paramshare.training.spec import LARGEST_FLOAT, LARGEST_SIZE, canonical_device, check_seed, hashed, is_int, number

__all__ = [
    "CLASSES",
    "DIGITS",
    "DIGIT_SIZE",
    "PLACEMENTS",
    "VARIANTS",
    "DigitsSpec",
    "DigitsVariant",
    "Offset",
    "Placement",
]

DigitsVariant = Literal["conv", "local", "dense"]
VARIANTS: Final[tuple[DigitsVariant, ...]] = get_args(DigitsVariant)

Placement = Literal["moved", "plain"]
PLACEMENTS: Final[tuple[Placement, ...]] = get_args(Placement)

Offset = tuple[int, int]
"""Where on the canvas the upper left corner of a digit lies: row and column."""

DIGITS: Final = 1797
"""How many scikit-learn bundles: the test part of UCI's "Optical Recognition of Handwritten Digits"."""

DIGIT_SIZE: Final = 8
CLASSES: Final = 10

KEY_VERSION: Final = "digits/1"
"""Part of every key. Raise the number when the same spec gives other numbers than before."""

_ROOM: Final[dict[Placement, int]] = {"moved": 4, "plain": 0}  # pixels that the canvas has more than a digit
_SEEN: Final = 3  # of the 5 rows and columns of offsets that `moved` has, those that training sees

_FROM_1: Final = "a whole number from 1 to 2**31 - 1"
_WHOLE: Final = (  # each whole number: at least, below, in words
    ("examples", 1, DIGITS, f"a whole number from 1 to {DIGITS - 1}, which leaves one digit for the test"),
    *((name, 1, LARGEST_SIZE + 1, _FROM_1) for name in ("channels", "batch_size", "steps")),
)
_RANGES: Final[tuple[tuple[str, Callable[[float], bool], str], ...]] = (
    ("stop_loss", lambda value: 0 <= value <= sys.float_info.max, "a number of at least 0, such as 0.01"),
    ("learning_rate", lambda value: 0 < value <= LARGEST_FLOAT, "a number above 0 and up to 3.4e38, such as 0.05"),
    ("momentum", lambda value: 0 <= value < 1, "a number from 0 up to, not including, 1"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsSpec:
    """One training run of one of the three nets. The defaults are the experiment's.

    It ends with the first epoch whose mean loss is at most `stop_loss`: every variant is trained until it fits its
    training digits equally well, however many steps that takes. (At the defaults dense takes some 360, conv 440, local
    850: a fixed number would stop them at different points of their way.) The mean is of the losses that the epoch's
    steps had anyway, so that asking costs nothing. Training on to a tenth of 0.01 took three to four times the steps
    and moved no accuracy by more than about 0.01 (conv on 3 seeds, dense on 1).

    Args:
        seed: of the split, the places of the digits, the initial weights and the batches; 0 ≤ seed < 2**63.
        variant: `conv` (convolutions), `local` (each position has a kernel of its own) or `dense` (each output is wired
            to each input).
        device: `cpu`, `mps`, `cuda:N`; `cuda` means `cuda:0`.
        placement: `moved` puts each 8×8 digit at one of the 25 offsets of a 12×12 canvas: 9 for training, the other 16
            only to be tested at; `plain` takes the digits as they are, which shows no gain from sharing.
        examples: digits to train on; the others are for the test.
        channels: of the first layer; the second has twice as many.
        batch_size: examples in a step. An epoch takes each example once, in a new order, and leaves out what does not
            fill a batch.
        steps: SGD steps at most.
        stop_loss: mean loss of an epoch that ends the training. 0 never does.
        learning_rate, momentum: SGD's; 0 < learning_rate ≤ 3.4e38, 0 ≤ momentum < 1.
        arithmetic: `direct`, as the loop adds up; there is no other.

    Raises:
        SpecError: a value is out of range.
        DeviceError: `device` is not a device's name. Whether the device is there is not asked here.
    """

    seed: int
    variant: DigitsVariant = "conv"
    device: str = "cpu"
    placement: Placement = "moved"
    examples: int = 1000
    channels: int = 16
    batch_size: int = 50
    steps: int = 5000
    stop_loss: float = 0.01
    learning_rate: float = 0.05
    momentum: float = 0.9
    arithmetic: Literal["direct"] = "direct"

    def __post_init__(self) -> None:
        for name, choices in (("variant", VARIANTS), ("placement", PLACEMENTS), ("arithmetic", ("direct",))):
            if getattr(self, name) not in choices:
                raise SpecError(f"{name} is {getattr(self, name)!r}; expected {' or '.join(choices)}")
        check_seed(self.seed)
        for name, least, end, expected in _WHOLE:
            value = getattr(self, name)
            if not is_int(value) or not least <= value < end:
                raise SpecError(f"{name} is {value!r}; expected {expected}")
        if self.batch_size > self.examples:
            raise SpecError(
                f"batch_size is {self.batch_size}; expected at most {self.examples}, the number of examples"
            )
        object.__setattr__(self, "device", canonical_device(self.device))
        for name, fits, expected in _RANGES:
            object.__setattr__(self, name, number(name, getattr(self, name), fits, expected))

    @property
    def canvas(self) -> int:
        """Rows, and columns, of what the net is given."""
        return DIGIT_SIZE + _ROOM[self.placement]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample of what the net takes: (1, canvas, canvas)."""
        return (1, self.canvas, self.canvas)

    @property
    def output_size(self) -> int:
        """How many numbers the net gives for one."""
        return CLASSES

    @property
    def epoch_steps(self) -> int:
        """Steps in an epoch."""
        return self.examples // self.batch_size

    @property
    def seen_offsets(self) -> tuple[Offset, ...]:
        """Where the digits lie that are trained on: the upper left 3×3 of the offsets; of `plain` the only one."""
        return tuple(offset for offset in self._offsets if max(offset) < _SEEN)

    @property
    def unseen_offsets(self) -> tuple[Offset, ...]:
        """The other offsets: up to two pixels beyond what is trained on. `plain` has none."""
        return tuple(offset for offset in self._offsets if max(offset) >= _SEEN)

    @property
    def _offsets(self) -> tuple[Offset, ...]:
        places = range(_ROOM[self.placement] + 1)
        return tuple((row, column) for row in places for column in places)

    def as_dict(self) -> dict[str, str | int | float]:
        """Every field by its name, in the order of the fields."""
        return cast(dict[str, str | int | float], asdict(self))

    def key(self) -> str:
        """A hash (32 hex digits) of all that determines the run's numbers, and of nothing else.

        The same on every machine and in every process. Equal keys mean equal numbers on the same device model,
        library build and thread count (PyTorch promises no more; those are provenance, not identity).
        """
        return hashed(KEY_VERSION, self.as_dict())
