"""The program of a command line: its commands, and for the one that trains the options of the recipe that it names."""

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, Final, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, Field, create_model
from pydantic_settings import CliSubCommand

from paramshare.commands.recipes.argument import CommandLine, separate
from paramshare.commands.recipes.options import DEFAULT, TrainingCommand, command_for
from paramshare.errors import UsageError
from paramshare.parser import UnknownOptionError
from paramshare.recipes.loading.find import find_target
from paramshare.recipes.target import TARGETS, Target
from paramshare.settings import recipe_setting

__all__ = ["Program", "program_for", "program_for_completion"]

Root = TypeVar("Root", bound=BaseModel)

_FLAGS: Final = ("-h", "--help")


class Program(NamedTuple):
    """The parts from which a command line is parsed.

    Args:
        root: the class of the whole command line.
        arguments: the command line with the recipe in the place where it is parsed.
        options: the names of the recipe's options.
        words: the words that name a command with a recipe, such as `flow sweep`; empty for any other command.
        recipe: the recipe that the command line names; empty if it names none.
        trained: the name of the recipe that the command trains.
    """

    root: type[Any]
    arguments: list[str]
    options: Collection[str]
    words: str = ""
    recipe: str = ""
    trained: str = ""

    def about_recipe(self, error: UsageError) -> UsageError:
        """Return an error of the parser in words that name the recipe.

        An option of another built-in recipe is named as such. The command that shows help names the recipe, too.
        """
        advice = f"see paramshare {self.words}"
        message = str(error)
        if isinstance(error, UnknownOptionError) and self.words:
            option = error.option.removeprefix("--").replace("-", "_")
            owners = [target.name for target in TARGETS.values() if option in target.options]
            if owners:
                message = f"{error.option} is an option of {owners[0]}, not of {self.trained}; {advice} --help"
        with_name = f"{advice} {self.recipe} --help" if self.recipe else f"{advice} --help"
        return UsageError(message.replace(f"{advice} --help", with_name))


def program_for(root: type[Root], given: Sequence[str]) -> Program:
    """Return the program for a command line. The code of the recipe that it names runs.

    Raises:
        UsageError: the recipe is not valid, or two are named.
    """
    words, command = _trainer(root, given)
    if command is None:
        return Program(_with_recipes(root, {}), list(given), ())
    plain = command_for(command, TARGETS[DEFAULT])
    line = separate(given[len(words) :], *_options_of(plain))
    reference, target = _recipe(line)
    chosen = {command: command_for(command, target, reference=reference)}
    arguments = [*words, reference, *line.arguments]
    recipe = line.recipe or ""
    return Program(_with_recipes(root, chosen), arguments, target.options, " ".join(words), recipe, target.name)


def program_for_completion(root: type[Root]) -> type[Root]:
    """Return the program whose commands have the options of every built-in recipe."""
    first, *others = TARGETS.values()
    return _with_recipes(root, {command: command_for(command, first, *others) for command in _trainers(root)})


def _recipe(line: CommandLine) -> tuple[str, Target]:
    """Return the recipe that the command line names, or the settings, or the default one."""
    setting = recipe_setting()
    with redirect_stdout(sys.stderr):  # stdout is for the result of the command
        if line.recipe is not None:
            return line.recipe, find_target(line.recipe)
        try:
            return setting or DEFAULT, find_target(setting or DEFAULT)
        except UsageError:
            if line.asks_help:  # help is shown whatever the settings are
                return DEFAULT, TARGETS[DEFAULT]
            raise


def _trainer(root: type[BaseModel], given: Sequence[str]) -> tuple[list[str], type[TrainingCommand] | None]:
    """Return the words that name a command, and the command if it trains a recipe."""
    words: list[str] = []
    command: type[BaseModel] | None = root
    for word in given:
        command = _commands(command).get(word) if command else None
        if command is None:
            break
        words.append(word)
        if issubclass(command, TrainingCommand):
            return words, command
    return words, None


def _trainers(root: type[BaseModel]) -> list[type[TrainingCommand]]:
    """Return every command that trains a recipe."""
    trainers: list[type[TrainingCommand]] = []
    for command in _commands(root).values():
        trainers += [command] if issubclass(command, TrainingCommand) else _trainers(command)
    return trainers


def _with_recipes(root: type[Root], chosen: Mapping[type[TrainingCommand], type[TrainingCommand]]) -> type[Root]:
    """Return a copy of a class of commands in which those that train have options.

    Args:
        chosen: the class in the place of a command. Defaults to a class for the default recipe.
    """
    fields: dict[str, Any] = {}
    for name, command in _commands(root).items():
        if issubclass(command, TrainingCommand):
            option_class: type[BaseModel] = chosen.get(command) or command_for(command, TARGETS[DEFAULT])
        elif _trainers(command):
            option_class = _with_recipes(command, chosen)
        else:
            continue
        fields[name] = (CliSubCommand[option_class], Field(description=root.model_fields[name].description))  # type: ignore[misc, valid-type]
    return create_model(root.__name__, __base__=root, __doc__=root.__doc__, __module__=__name__, **fields)


def _commands(group: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the commands of a group by name; empty for a command that is no group."""
    return {
        name: get_args(field.annotation)[0]
        for name, field in group.model_fields.items()
        if any(getattr(metadata, "__name__", "") == "_CliSubCommand" for metadata in field.metadata)
    }


def _options_of(command: type[TrainingCommand]) -> tuple[set[str], set[str]]:
    """Return the options of a command that have a value, and those that have none."""
    with_value, flags = set[str](), set(_FLAGS)
    for name, field in command.model_fields.items():
        option = str(field.validation_alias or name).replace("_", "-")
        if field.annotation is bool:
            flags |= {f"--{option}", f"--no-{option}"}
        else:
            with_value.add(f"--{option}")
    return with_value, flags
