"""The sizes of scikit-learn's digits, the test part of UCI's "Optical Recognition of Handwritten Digits"."""

from typing import Final

__all__ = ["CLASSES", "DIGITS", "DIGIT_SIZE", "Offset"]

DIGITS: Final = 1797
"""The number of images."""

DIGIT_SIZE: Final = 8
"""The rows, and the columns, of an image."""

CLASSES: Final = 10

Offset = tuple[int, int]
"""The row and column of the upper left corner of a digit on the canvas."""
