"""The digits as images: load them, place them on a canvas, and score a net on them."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from paramshare.recipes.digits.dataset import DIGIT_SIZE, DIGITS, Offset

__all__ = ["load_digits", "placed", "score"]


@lru_cache(maxsize=1)
def load_digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's bundled digits, float32 (1797, 1, 8, 8) from 0 to 1, and their labels, int64 (1797,)."""
    from sklearn import datasets  # type: ignore[import-untyped]  # a second to import, only for those who train

    digits, labels = datasets.load_digits(return_X_y=True)
    pixels = torch.from_numpy(digits).float().view(DIGITS, 1, DIGIT_SIZE, DIGIT_SIZE)
    return pixels / 16, torch.from_numpy(labels).long()


def placed(digits: Tensor, offset: Offset, canvas: int) -> Tensor:
    """Return digits (n, 1, 8, 8) with their upper left corner at `offset` of a canvas, (n, 1, canvas, canvas)."""
    row, column = offset
    images = digits.new_zeros(len(digits), 1, canvas, canvas)
    images[:, :, row : row + DIGIT_SIZE, column : column + DIGIT_SIZE] = digits
    return images


def score(net: nn.Module, test: tuple[Tensor, Tensor], offsets: Sequence[Offset], canvas: int) -> tuple[float, float]:
    """Return the accuracy and the mean cross entropy of a net on every test digit at every one of some offsets."""
    digits, labels = test
    right, loss = 0, 0.0
    for offset in offsets:
        scores = net(placed(digits, offset, canvas))
        right += int((scores.argmax(dim=1) == labels).sum())
        loss += float(cross_entropy(scores, labels, reduction="sum"))
    tested = len(offsets) * len(labels)
    return right / tested, loss / tested
