"""Find the recipe that a command line names before the command line is parsed: its options are those of the recipe."""

import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from paramshare.errors import UsageError
from paramshare.recipes.loading.find import installed_recipes
from paramshare.recipes.target import TARGETS

__all__ = ["CommandLine", "separate"]

_REFERENCE: Final = re.compile(r".+\.py(:\w+)?|[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_OPTION: Final = "--target"


class CommandLine(NamedTuple):
    """The arguments of a command.

    Args:
        recipe: the recipe that they name; None if they name none.
        arguments: the other arguments.
    """

    recipe: str | None
    arguments: tuple[str, ...]

    @property
    def asks_help(self) -> bool:
        """Return whether they ask for help."""
        return not {"-h", "--help"}.isdisjoint(self.arguments)


def separate(arguments: Sequence[str], with_value: Collection[str], flags: Collection[str]) -> CommandLine:
    """Separate the recipe, an argument of its own or the value of --target, from the other arguments.

    Args:
        arguments: those after the name of the command.
        with_value: the options of the command that have a value.
        flags: the options of the command that have none. All other options are the recipe's: what follows one of them
            is its value unless it looks like a recipe.

    Raises:
        UsageError: two recipes are named.
    """
    named: list[str] = []
    others: list[str] = []
    waiting = list(reversed(arguments))
    while waiting:
        word = waiting.pop()
        if word == _OPTION:
            if not waiting:
                raise UsageError(
                    f"{_OPTION} needs a value: the recipe to train; `paramshare recipes` lists the recipes"
                )
            named.append(waiting.pop())
        elif word.startswith(f"{_OPTION}="):
            named.append(word.partition("=")[2])
        elif word.startswith("-"):
            others.append(word)
            if waiting and _has_value(word, waiting[-1], with_value, flags, recipe_named=bool(named)):
                others.append(waiting.pop())
        elif not named or named[0] == word or _is_recipe(word):
            named.append(word)
        else:
            others.append(word)
    if len(set(named)) > 1:
        raise UsageError(f"two recipes are named, {named[0]} and {named[1]}; name one")
    return CommandLine(named[0] if named else None, tuple(others))


def _has_value(
    option: str, following: str, with_value: Collection[str], flags: Collection[str], *, recipe_named: bool
) -> bool:
    if option in with_value:
        return True
    if "=" in option or option in flags or following.startswith("--"):
        return False
    return recipe_named or not _is_recipe(following)


def _is_recipe(word: str) -> bool:
    return word in TARGETS or _REFERENCE.fullmatch(word) is not None or word in installed_recipes()
