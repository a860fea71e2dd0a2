"""RecipeSource: the identity of a recipe, with everything that any process needs to load its class."""

import importlib
import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path

from paramshare.errors import SpecError, in_a_line
from paramshare.recipes.loading.files import SourceFile, digest_of, load_files
from paramshare.recipes.recipe import Recipe

__all__ = ["RecipeSource", "digest_of_module", "known_source"]


@dataclass(frozen=True, slots=True)
class RecipeSource:
    """A recipe's identity and source. Two of them are equal if name, version and digest are.

    Args:
        name, version: of the class.
        digest: a hash of the source; empty for a recipe of this package.
        reference: how a person names the recipe, such as `spirals.py:Spirals`.
        attribute: the name of the class in its module.
        files: the recipe's file and the files that it imports beside it; empty for an importable module.
        module: the name of an importable module; empty for files.
        pickled: the class by value, for a class of a notebook; empty otherwise.
    """

    name: str
    version: int
    digest: str
    reference: str = field(compare=False)
    attribute: str = field(compare=False)
    files: tuple[SourceFile, ...] = field(default=(), compare=False, repr=False)
    module: str = field(default="", compare=False)
    pickled: bytes = field(default=b"", compare=False, repr=False)

    def load(self) -> type[Recipe]:
        """Return the class. The first call in a process runs the recipe's code.

        Raises:
            SpecError: an importable module is missing here, or has another source than the one that was asked for.
        """
        if self not in _loaded:
            _loaded[self] = self._load()
        return _loaded[self]

    def adopt(self, recipe: type[Recipe]) -> None:
        """Take a class that this process has loaded already."""
        _loaded.pop(self, None)  # an equal source can have another reference: that of a copy of the file
        _loaded[self] = recipe

    def _load(self) -> type[Recipe]:
        if self.pickled:
            import cloudpickle  # type: ignore[import-untyped]

            recipe: type[Recipe] = cloudpickle.loads(self.pickled)
            return recipe
        if self.files:
            return _attribute(load_files(self.files, self.digest), self.attribute)
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            raise SpecError(
                f"the recipe {self.reference} cannot be imported here ({in_a_line(error)}); install its package"
            ) from error
        if self.digest and (here := digest_of_module(self.module)) != self.digest:
            raise SpecError(
                f"the recipe {self.reference} has another source here (digest {here}) than the one that was asked for "
                f"({self.digest}); install the same version of its package"
            )
        return _attribute(module, self.attribute)


_loaded: dict[RecipeSource, type[Recipe]] = {}


def known_source(recipe: type[Recipe]) -> RecipeSource | None:
    """Return the source from which this process has loaded a class; None if it has not."""
    return next((source for source, loaded in _loaded.items() if loaded is recipe), None)


def digest_of_module(module: str) -> str:
    """Return a hash of an imported module's source file."""
    file = inspect.getsourcefile(sys.modules[module])
    text = Path(file).read_text(encoding="utf-8") if file else ""
    return digest_of([SourceFile("", "", text)])


def _attribute(module: object, name: str) -> type[Recipe]:
    value = module
    for part in name.split("."):
        value = getattr(value, part)
    assert isinstance(value, type)
    assert issubclass(value, Recipe)
    return value
