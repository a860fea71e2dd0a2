"""Find a recipe by its reference: `file.py:Class`, `package.module:Class`, or the name of an installed recipe.

An installed recipe is an entry point of the group `paramshare.recipes`. A class of a script or a notebook can be used
itself.
"""

import importlib
import sys
import traceback
from collections.abc import Collection
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from paramshare.errors import SpecError, did_you_mean, in_a_line
from paramshare.recipes.built_in import BUILT_IN
from paramshare.recipes.loading.declarations import check_class
from paramshare.recipes.loading.files import SourceFile, digest_of, load_files, read_files, text_of_class
from paramshare.recipes.loading.source import RecipeSource, digest_of_module, known_source
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.target import Target, recipe_target

__all__ = ["find_recipe", "find_target", "installed_recipes", "place_of", "recipes_of_file", "source_of"]

_GROUP = "paramshare.recipes"


@lru_cache(maxsize=64)
def _of_text(files: tuple[SourceFile, ...], name: str, reference: str) -> RecipeSource:
    recipe = _chosen(_module_of(files, reference), name, reference)
    return _source(recipe, digest_of(files), reference, files=files)


def _module_of(files: tuple[SourceFile, ...], reference: str) -> ModuleType:
    try:
        return load_files(files, digest_of(files))
    except (Exception, SystemExit) as error:  # a script may end itself
        place = place_of(error, [file.path for file in files])
        raise SpecError(f"importing {reference} failed{place}: {in_a_line(error)}") from error


def find_recipe(reference: str) -> RecipeSource:
    """Return the source of the recipe that a reference names. Its code runs.

    Args:
        reference: `path/to/file.py:Class`, or `path/to/file.py` if the file has one recipe; `package.module:Class`; or
            the name of a built-in or installed recipe.

    Raises:
        SpecError: there is no such recipe, its code fails, or its class is not valid.
    """
    place, _, name = reference.rpartition(":") if not reference.endswith(".py") else (reference, "", "")
    if place.endswith(".py"):
        return _of_text(read_files(Path(place)), name, reference)
    if place:
        return _of_module(reference, place, name)
    if reference in BUILT_IN:
        return BUILT_IN[reference]
    installed = installed_recipes()
    if reference not in installed:
        known = did_you_mean(reference, [*BUILT_IN, *installed]) or "; `paramshare recipes` lists those there are"
        raise SpecError(f"there is no recipe called {reference!r}{known}, or pass path/to/file.py:Class")
    return _of_module(reference, *installed[reference].value.split(":"))


def find_target(reference: str) -> Target:
    """Return the target of the recipe that a reference names.

    Raises:
        SpecError: see `find_recipe`.
    """
    return recipe_target(find_recipe(reference))


def source_of(recipe: type[Recipe]) -> RecipeSource:
    """Return the source of a class that this process has defined or imported.

    Raises:
        SpecError: the class is not valid.
    """
    built_in = BUILT_IN.get(recipe.name)
    if built_in is not None and built_in.load() is recipe:
        return built_in
    check_class(recipe, recipe.__qualname__)
    if (known := known_source(recipe)) is not None:
        return known
    module = sys.modules.get(recipe.__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None or "<locals>" in recipe.__qualname__:
        source = _of_notebook(recipe)
    elif recipe.__module__ == "__main__":  # the script is running: it is not run a second time
        files = read_files(Path(file))
        source = _source(recipe, digest_of(files), f"{file}:{recipe.__qualname__}", files=files)
    else:
        source = _source(recipe, digest_of_module(recipe.__module__), _path(recipe), module=recipe.__module__)
    source.adopt(recipe)
    return source


def recipes_of_file(path: str) -> list[str]:
    """Return the names of the recipes that a file defines. Its code runs.

    Raises:
        SpecError: the file does not exist, or its code fails.
    """
    return list(_recipes_of(_module_of(read_files(Path(path)), path)))


def installed_recipes() -> dict[str, EntryPoint]:
    """Return the entry points of installed recipes by name."""
    return {entry.name: entry for entry in entry_points(group=_GROUP)}


def place_of(error: BaseException, paths: Collection[str]) -> str:
    """Return ` (file.py, line 12, in loss)`: the last of the recipe's own lines that an error passed; else nothing."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in paths]
    if not frames:
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})"


def _of_module(reference: str, module_name: str, attribute: str) -> RecipeSource:
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a script may end itself
        raise SpecError(f"importing {module_name} failed: {in_a_line(error)}") from error
    recipe = _chosen(module, attribute, reference)
    return _source(recipe, digest_of_module(module_name), reference, module=module_name)


def _of_notebook(recipe: type[Recipe]) -> RecipeSource:
    import cloudpickle  # type: ignore[import-untyped]

    text = text_of_class(recipe)
    if not text:
        raise SpecError(f"the source of {recipe.__qualname__} is not known; define the class in a file")
    digest = digest_of([SourceFile("", "", text)])
    return _source(recipe, digest, recipe.__qualname__, pickled=cloudpickle.dumps(recipe))


def _source(
    recipe: type[Recipe],
    digest: str,
    reference: str,
    *,
    files: tuple[SourceFile, ...] = (),
    module: str = "",
    pickled: bytes = b"",
) -> RecipeSource:
    source = RecipeSource(recipe.name, recipe.version, digest, reference, recipe.__qualname__, files, module, pickled)
    source.adopt(recipe)
    return source


def _path(recipe: type[Recipe]) -> str:
    return f"{recipe.__module__}:{recipe.__qualname__}"


def _chosen(module: ModuleType, name: str, reference: str) -> type[Recipe]:
    """Return the class of a module that a reference names, or the module's only recipe.

    Raises:
        SpecError: there is no such class, it is not a recipe, or the module has several.
    """
    recipes = _recipes_of(module)
    if not name:
        if len(recipes) != 1:
            several = f"has the recipes {', '.join(recipes)}" if recipes else "has no class that inherits ps.Recipe"
            raise SpecError(f"{reference} {several}; pass {reference}:{next(iter(recipes), 'Class')}")
        (name,) = recipes
    value = vars(module).get(name)
    if not (isinstance(value, type) and issubclass(value, Recipe)):
        close = did_you_mean(name, recipes) or f"; it has {', '.join(recipes) or 'none'}"
        raise SpecError(f"{reference} is not a recipe, a class that inherits ps.Recipe{close}")
    check_class(value, reference)
    return value


def _recipes_of(module: ModuleType) -> dict[str, type[Recipe]]:
    """Return the recipes that a module defines, by name."""
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Recipe) and value.__module__ == module.__name__
    }
