"""The parser of the command line: argparse with readable help, and errors that name the nearest option or command."""

import argparse
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from paramshare.errors import UsageError, did_you_mean

__all__ = ["Parser", "UnknownOptionError", "commands_of", "options_of"]

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
_REWORDED: Final = (
    (r"^argument ", ""),
    (r"^(--[\w-]+)/--no-[\w-]+: ", r"\1: "),
    (r": ignored explicit argument ", " takes no value; got "),
    (r": expected (one|at least one) argument$", " needs a value"),
    (r"^(\S+): invalid choice: (.*) \(choose from (.*)\)$", r"\1 is \2; expected \3"),
    (r"^(\S+): invalid int value: (.*)$", r"\1 is \2; expected a whole number"),
    (r"^the following arguments are required: (.+)$", r"\1 is missing"),
)
"""Messages of argparse, and what stands in their place."""


class UnknownOptionError(UsageError):
    """An option that a command does not have.

    Args:
        option: the option, such as `--sedes`.
        advice: the end of the message, such as `; did you mean --seeds?`.
        command: the command as it is typed, such as `paramshare train`.
    """

    def __init__(self, option: str, advice: str, command: str) -> None:
        super().__init__(f"there is no option {option}{advice}; see {command} --help")
        self.option = option


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
        commands = commands_of(self)
        if commands and args and args[0].startswith("-"):
            self._check_option(args[0].partition("=")[0])  # else the value of a misplaced option would be the command
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        if commands and not any(getattr(known, dest, None) for dest in self._command_names()):
            self.error(f"a command is missing; expected one of {', '.join(commands)}")
        return known, unknown

    def _command_names(self) -> list[str]:
        """Return the names of the parsed values that hold the name of the command."""
        return [action.dest for action in self._actions if isinstance(action, argparse._SubParsersAction)]

    def _refuse(self, unknown: list[str]) -> NoReturn:
        for argument in unknown:
            if argument.startswith("-"):
                self._check_option(argument.partition("=")[0])
        self.error(f"unexpected argument {unknown[0]!r}; remove it")

    def _check_option(self, option: str) -> None:
        """Refuse an option that this parser does not have.

        Raises:
            UnknownOptionError: there is no such option here.
        """
        if option in options_of(self) or option == "--":
            return
        if any(option in options_of(command) for command in _leaves(self)):
            self.error(f"{option} is an option of a command; write it after the command")
        raise UnknownOptionError(option, did_you_mean(option, options_of(self)), self.prog)

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
        for pattern, words in _REWORDED:
            message = re.sub(pattern, words, message)
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


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers below a parser that have no commands."""
    for command in commands_of(parser).values():
        if commands_of(command):
            yield from _leaves(command)
        else:
            yield command
