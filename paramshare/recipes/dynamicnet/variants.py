"""The variants and the depths of DynamicNet."""

from typing import Final, Literal, get_args

__all__ = ["DEPTHS", "VARIANTS", "VariantName"]

VariantName = Literal["shared", "untied"]
VARIANTS: Final[tuple[VariantName, ...]] = get_args(VariantName)

DEPTHS: Final = range(4)
"""The depths: the middle layer is applied 0 to 3 times in one step, the article's `random.randint(0, 3)`."""
