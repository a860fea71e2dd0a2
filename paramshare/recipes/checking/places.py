"""Find the place that an error of a recipe comes from: its file, line and method."""

import sys
from pathlib import Path

from paramshare.errors import SpecError, in_a_line
from paramshare.recipes.loading.find import place_of
from paramshare.recipes.loading.source import RecipeSource

__all__ = ["Places"]

_METHODS = ("data", "model", "loss", "evaluate", "batches", "fit", "inputs", "optimizer", "scheduler")


class Places:
    """The places in the source of a recipe.

    Args:
        source: the recipe.
    """

    def __init__(self, source: RecipeSource) -> None:
        self._recipe = source.load()
        self._paths = [file.path for file in source.files]
        if not self._paths:
            self._paths = [str(getattr(sys.modules.get(self._recipe.__module__), "__file__", ""))]

    def line(self, error: Exception) -> str:
        """Return an error in a line, with the last of the recipe's own lines that it passed."""
        place = place_of(error, self._paths)
        if isinstance(error, SpecError):  # of paramshare: its message begins with the method that is wrong
            return f"{error}{place or self.of(str(error).partition(' ')[0])}"
        return f"{in_a_line(error)}{place}"

    def of(self, method: str) -> str:
        """Return ` (file.py, line 12, in loss)`: where the recipe defines a method, or `variants NAME`."""
        function = getattr(self._recipe, method, None) if method in _METHODS else None
        if method.startswith("variants "):
            function = self._recipe.variants[method.partition(" ")[2]]
        code = getattr(function, "__code__", None)
        if code is None or code.co_filename not in self._paths:
            return ""
        return f" ({Path(code.co_filename).name}, line {code.co_firstlineno}, in {code.co_name})"
