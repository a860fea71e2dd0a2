"""The parser of the command line: argparse with readable help, and errors that name the nearest option or command."""

import argparse
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from paramshare.errors import UsageError, did_you_mean

__all__ = ["Parser", "commands_of", "options_of"]

_NO_DEFAULTS: Final = (" (default: null)", " (default: )", " (default: {})", " (default: False)", " (default: True)")
_DEFAULT: Final = re.compile(r" \(default: [^)]*\)$")
_REQUIRED: Final = " (required)"
_VALUES: Final = {
    "str": "TEXT",
    "int": "INT",
    "float": "NUMBER",
    "Path": "FILE",
    "dict[str,Any]": "JSON",
    "TARGET": "RECIPE",
}


class Parser(argparse.ArgumentParser):
    """A parser of the program or of one of its commands.

    Args:
        version: the text that `--version` prints. Defaults to None: there is no such option.
        settings: see `argparse.ArgumentParser`.
    """

    def __init__(self, *, version: str | None = None, **settings: Any) -> None:
        description = settings.pop("description", None)
        self._needed: list[argparse.Action] = []
        super().__init__(description=inspect.cleandoc(description) if description else None, **settings)
        if version is not None:
            super().add_argument("--version", action="version", version=version, help="print the version and exit")

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an option or a positional argument, without pydantic's internal names in its help and placeholder."""
        text = settings.get("help") or ""
        if not names[0].startswith("-"):  # the description of an argument says what its absence means
            text = _DEFAULT.sub("", text)
        for default in _NO_DEFAULTS:
            text = text.removesuffix(default)
        needed = text.endswith(_REQUIRED) and names[0].startswith("-")
        settings["help"] = text
        if (value := settings.get("metavar")) in _VALUES:
            settings["metavar"] = _VALUES[value]
        action = super().add_argument(*names, **settings)
        if needed:
            self._needed.append(action)
        return action

    def format_usage(self) -> str:
        """Return the usage, without brackets around options that are required."""
        with self._shown_as_required():
            return super().format_usage()

    def format_help(self) -> str:
        """Return the help, without brackets around options that are required."""
        with self._shown_as_required():
            return super().format_help()

    @contextmanager
    def _shown_as_required(self) -> Iterator[None]:
        """Mark options as required while help is printed. Pydantic checks them, since a setting can give the value."""
        for action in self._needed:
            action.required = True
        try:
            yield
        finally:
            for action in self._needed:
                action.required = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments. Refuse an option that the command does not have, and a missing command."""
        known, unknown = super().parse_known_args(args, namespace)
        commands = commands_of(self)
        if unknown and not commands:
            self._refuse(unknown)
        if commands and not unknown and not any(getattr(known, dest, None) for dest in self._command_names()):
            self.error(f"a command is missing; expected one of {', '.join(commands)}")
        return known, unknown

    def _command_names(self) -> list[str]:
        """Return the names of the parsed values that hold the name of the command."""
        return [action.dest for action in self._actions if isinstance(action, argparse._SubParsersAction)]

    def _refuse(self, unknown: list[str]) -> NoReturn:
        name = unknown[0].partition("=")[0]
        close = did_you_mean(name, options_of(self)) if name.startswith("-") else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{close}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse an unknown command. argparse calls this for every value with choices."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            close = did_you_mean(value, action.choices) or f"; expected one of {', '.join(action.choices)}"
            raise argparse.ArgumentError(None, f"there is no command {value!r}{close}")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Raise the error of a command line.

        Raises:
            UsageError: always.
        """
        message = message.removeprefix("argument ").replace("ignored explicit argument", "takes no value, not")
        raise UsageError(f"{message}; see {self.prog} --help")


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser by name; empty for a command that has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return the actions of a parser by each of their option strings."""
    return {name: action for action in parser._actions for name in action.option_strings}
