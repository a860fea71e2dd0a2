"""The global generators of Python, NumPy and torch: seed them, restore them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Final

import numpy as np
import torch

__all__ = ["derived_seed", "restored_random_state", "seed_all"]

_NUMPY_SEEDS: Final = 2**32


@contextmanager
def restored_random_state() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch, of every device, at the end of the block."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch, of every device."""
    random.seed(seed)
    np.random.seed(seed % _NUMPY_SEEDS)
    torch.manual_seed(seed)


def derived_seed(seed: int, purpose: str) -> int:
    """Return a seed for one purpose, below 2**63: generators of different purposes are independent."""
    return int.from_bytes(sha256(f"{seed} {purpose}".encode()).digest()[:8]) >> 1
