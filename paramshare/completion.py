"""Completion of the command line in a shell: a script made once, so that a tab starts no Python."""

import argparse
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from paramshare.parser import commands_of
from paramshare.recipe_completion import with_recipe_options
from paramshare.recipes.target import TARGETS
from paramshare.sharing.formulas.layers_by_name import LAYERS
from paramshare.tracking.display.views import VIEWS

__all__ = ["Shell", "script"]

Shell = Literal["bash", "zsh", "fish"]

_FIXED: Final = {"KIND": LAYERS, "SHELL": get_args(Shell)}
_RECIPE: Final = "RECIPE"  # a built-in one, or a file of Python
_VIEW: Final = "--view"  # a view of every experiment; a recipe adds its own
_CHOICES: Final = re.compile(r"\{(.+)\}")
_PYTHON_FILES: Final = ("MODEL", "MODELS", "--input")  # also take an import path, which no shell can complete


def script(parser: argparse.ArgumentParser, shell: Shell) -> str:
    """Return the script that completes a program in a shell: commands, options, fixed values and files.

    Args:
        parser: of the program; its actions get the choices that their help shows, so it is not to parse after this.
    """
    import shtab

    _complete_values(parser)
    text: str = shtab.complete(parser, shell)
    return with_recipe_options(text, shell)


def _complete_values(parser: argparse.ArgumentParser) -> None:
    """Give every option of a parser and of its commands the values that a shell can offer."""
    import shtab

    for action in parser._actions:
        shown = str(action.metavar)
        if shown == "FILE":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif shown == _RECIPE:
            action.complete = _recipe_completion(shtab.glob("*.py"))  # type: ignore[attr-defined]
        elif shown in _PYTHON_FILES or set(action.option_strings) & set(_PYTHON_FILES):
            files = {**shtab.glob("*.py"), "zsh": "_files -g '*.py'"}  # shtab's '(*.py)' is a qualifier to zsh
            action.complete = files  # type: ignore[attr-defined]
        elif shown in _FIXED:
            action.choices = _FIXED[shown]
        elif _VIEW in action.option_strings:
            action.choices = VIEWS
        elif not action.choices and (match := _CHOICES.fullmatch(shown)):
            action.choices = match[1].split(",")
    for command in commands_of(parser).values():
        _complete_values(command)


def _recipe_completion(files: Mapping[str, Any]) -> dict[str, Any]:
    """Return the completion of a recipe in each shell: the names of the built-in ones, and files of Python.

    Args:
        files: the completion of files of Python.
    """
    names = " ".join(TARGETS)
    bash = f'_paramshare_recipes() {{\n  compgen -W "{names}" -- $1\n  {files["bash"]} $1\n}}\n'
    fish = f"function _paramshare_recipes\n  printf '%s\\n' {names}\n  {files['fish'].strip('()')}\nend\n"
    preambles = files["preamble"]
    return {
        **files,
        "bash": "_paramshare_recipes",
        "zsh": f"{{compadd {names}; _files -g '*.py'}}",
        "fish": "(_paramshare_recipes)",
        "preamble": {**preambles, "bash": preambles["bash"] + bash, "fish": preambles["fish"] + fish},
    }
