"""Find out which option, variable or file sets a value, and which variables of MLflow are used."""

import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import Final

from paramshare.errors import SettingsError, without_secrets
from paramshare.settings import MLFLOW_VARIABLES, StoreSettings, set_values, without_options

__all__ = ["attributed", "origin_of", "print_store_remarks", "store_remarks", "unused_variables"]

_UNUSED: Final = {
    "MLFLOW_EXPERIMENT_ID": "name the experiment with MLFLOW_EXPERIMENT_NAME or PARAMSHARE_EXPERIMENT",
    "MLFLOW_RUN_ID": "every training creates a new run",
}


def origin_of(settings: StoreSettings, name: str) -> str:
    """Return the source of a setting's value, such as `MLFLOW_TRACKING_URI`; empty for a default."""
    if getattr(settings, name) != getattr(without_options(), name):
        return f"--{name.replace('_', '-')}"
    return set_values().get(name, ("", None))[0]


def store_remarks(settings: StoreSettings) -> list[str]:
    """Return a line for each of MLflow's variables that names the store or the experiment, or that is not used."""
    named = [
        f"{origin} is {without_secrets(getattr(settings, name))}"
        for name in MLFLOW_VARIABLES
        if (origin := origin_of(settings, name)).startswith("MLFLOW_")
    ]
    return [*named, *unused_variables()]


def print_store_remarks(settings: StoreSettings) -> None:
    """Print the lines of `store_remarks` on stderr, each once a process."""
    for line in store_remarks(settings):
        _print_once(f"paramshare: {line}")


@cache
def _print_once(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


def unused_variables() -> list[str]:
    """Return a line for each variable that is set, tells MLflow's own programs where to log, and is not used here."""
    return [f"{name} is not used: {advice}" for name, advice in _UNUSED.items() if os.environ.get(name)]


def attributed(message: str, arguments: Iterable[str]) -> str:
    """Return a message about an invalid value that names the variable or the file's setting that sets the value.

    Args:
        message: a message that names the value by its option, such as `--steps is 0; expected at least 1`, or that
            shows only the value.
        arguments: the command line. A value that it sets keeps the option's name.
    """
    options = {argument.partition("=")[0] for argument in arguments}
    try:
        values = set_values()
    except SettingsError:
        return message
    for name, (origin, value) in values.items():
        option = f"--{name.replace('_', '-')}"
        if options & {option, option.replace("--", "--no-", 1)}:
            continue
        if re.search(rf"(?<![\w-]){option} is ", message):
            message = re.sub(rf"(?<![\w-]){option} is ", f"{origin} is ", message)
        elif isinstance(value, str) and any(repr(part) in message for part in {value, *value.split(",")}):
            message += "" if origin in message else f"; the value comes from {origin}"
    return message
