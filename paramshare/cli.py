"""The command line: the list of commands, and the handling of errors.

Each command imports the modules that it needs when it runs, so that `--help` is instant.
"""

import gc
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSettingsSource,
    CliSubCommand,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as CommandLineError

from paramshare.commands.comparing import Compare, Study
from paramshare.commands.counting import Analyze, Article, FlowCount, Layer
from paramshare.commands.flows import FlowStudy, FlowSweep, FlowVerify
from paramshare.commands.output import FAILED
from paramshare.commands.proving import Reproduce, Verify
from paramshare.commands.recipes.checking import Check
from paramshare.commands.recipes.listing import Init, Recipes
from paramshare.commands.recipes.program import program_for, program_for_completion
from paramshare.commands.service import Doctor, Relocate, Ui
from paramshare.commands.stores.flushing import Flush
from paramshare.commands.stores.registering import Register
from paramshare.commands.training import Train
from paramshare.completion import Shell, script
from paramshare.errors import ParamshareError, UsageError, without_secrets
from paramshare.home import prepare_home
from paramshare.parser import Parser
from paramshare.progress_lines import no_foreign_bars
from paramshare.setting_origins import attributed
from paramshare.settings import check_names
from paramshare.signals import INTERRUPTED, TERMINATED, signals_raise
from paramshare.streams import OutputError, ReaderGoneError, prepare_streams
from paramshare.validation import sentences

__all__ = ["Completion", "Flow", "Paramshare", "main"]

_USAGE = 2
_NOT_JSON = re.compile(r"Parsing error encountered for ([\w.]+): (.*)")
_UNREAD = 128 + signal.SIGPIPE
_WITHOUT_SETTINGS = ("completion", "doctor")  # work even if a setting is misspelt; doctor reports it
_GC_THRESHOLDS = (50_000, 20, 50)  # Python's default of 700 objects costs a tenth of the time of large imports


class Flow(BaseModel):
    """Run a Prefect flow."""

    sweep: CliSubCommand[FlowSweep] = Field(description="the sweep of `train`, as a Prefect flow")
    study: CliSubCommand[FlowStudy] = Field(description="the study of `study`, as a Prefect flow")
    count: CliSubCommand[FlowCount] = Field(description="`analyze --track` for several models, as a Prefect flow")
    verify: CliSubCommand[FlowVerify] = Field(description="the check of `verify`, as a Prefect flow")

    def cli_cmd(self) -> None:
        """Run the command of the flow."""
        CliApp.run_subcommand(self)


class Completion(BaseModel):
    """Print a script that completes commands, options and their values in a shell.

    eval "$(paramshare completion bash)"                                            # in ~/.bashrc
    eval "$(paramshare completion zsh)"                                             # in ~/.zshrc, after compinit
    paramshare completion fish > ~/.config/fish/completions/paramshare.fish
    """

    shell: CliPositionalArg[Shell] = Field(description="bash, zsh or fish")

    def cli_cmd(self) -> None:
        """Print the script."""
        parser, _ = _parser(program_for_completion(Paramshare))
        print(script(parser, self.shell))  # noqa: T201 - the output of the command


class Paramshare(BaseSettings):
    """Measure what sharing weights buys: count parameters, train with and without sharing, track runs and compare."""

    model_config = SettingsConfigDict(
        cli_prog_name="paramshare",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        cli_enforce_required=False,
    )

    analyze: CliSubCommand[Analyze] = Field(
        description="count a model's parameters, shared and unshared, layer by layer"
    )
    layer: CliSubCommand[Layer] = Field(description="count one layer from its sizes")
    article: CliSubCommand[Article] = Field(description="check the claims of the source article")
    recipes: CliSubCommand[Recipes] = Field(description="list what can be trained, with options and variants")
    init: CliSubCommand[Init] = Field(description="write a recipe to start from")
    check: CliSubCommand[Check] = Field(description="check a recipe before it is trained")
    train: CliSubCommand[Train] = Field(description="train a recipe with every seed")
    study: CliSubCommand[Study] = Field(description="train every variant with the same seeds, and compare")
    compare: CliSubCommand[Compare] = Field(description="compare groups of runs, with n and confidence intervals")
    reproduce: CliSubCommand[Reproduce] = Field(description="train a run again from its id and compare")
    verify: CliSubCommand[Verify] = Field(description="train a sample of a sweep's runs again and compare")
    register_model: CliSubCommand[Register] = Field(
        validation_alias="register",  # a field of this name would hide a method of the class
        description="give the model of a run a name, and show how to serve it",
    )
    flush: CliSubCommand[Flush] = Field(description="deliver results that were kept while a server did not answer")
    flow: CliSubCommand[Flow] = Field(description="run a Prefect flow")
    ui: CliSubCommand[Ui] = Field(description="open MLflow's pages on the runs")
    relocate: CliSubCommand[Relocate] = Field(description="correct a store after its folder was moved or copied")
    doctor: CliSubCommand[Doctor] = Field(
        description="show versions, devices, settings and servers, and whether they work"
    )
    completion: CliSubCommand[Completion] = Field(description="print a script that completes commands in a shell")

    def cli_cmd(self) -> None:
        """Run the named command."""
        CliApp.run_subcommand(self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 1 if a run or a server failed, 2 for wrong usage.

    Args:
        arguments: the command line after the program's name. Defaults to that of this process.
    """
    if arguments is None:
        gc.set_threshold(*_GC_THRESHOLDS)
        os.environ["MPLBACKEND"] = "agg"  # `!paramshare` in a notebook inherits a backend that only its kernel has
        prepare_home()
    os.environ["PYTHONSAFEPATH"] = "1"  # child processes do not import modules from the working directory
    prepare_streams()
    no_foreign_bars()
    try:
        with signals_raise() as received:
            code = _run(list(sys.argv[1:] if arguments is None else arguments), received)
        sys.stdout.flush()
    except ReaderGoneError:
        return _UNREAD
    except OutputError as error:
        return _fail(str(error), FAILED)
    return code


def _run(arguments: list[str], received: list[int]) -> int:
    """Run one command, print an error as one line, and return the exit code.

    Args:
        arguments: the command line.
        received: the signals to end that the process received. If a library turns the exception of a signal into
            another error, the exit code is still that of the signal.
    """
    try:
        _execute(arguments or ["--help"])
    except SystemExit as end:
        if end.code == TERMINATED:
            return _interrupted(TERMINATED, end)
        if isinstance(end.code, str):  # Python itself would print it
            return _fail(end.code, FAILED)
        return end.code or 0
    except KeyboardInterrupt as end:
        return _interrupted(INTERRUPTED, end)
    except Exception as error:
        return _interrupted(128 + received[0], error) if received else _report(error, arguments)
    return 0


def _execute(given: list[str]) -> None:
    """Parse the command line and run its command."""
    program = program_for(Paramshare, given)
    _, source = _parser(program.root)
    try:
        source(args=program.arguments)  # --help and --version end here, so invalid settings do not matter
    except UsageError as error:
        raise program.about_recipe(error) from error
    if given[0] not in _WITHOUT_SETTINGS:
        check_names(program.options)
    CliApp.run(program.root, program.arguments, cli_settings_source=source)


def _report(error: Exception, arguments: list[str]) -> int:
    """Print an expected error as one line and return the exit code. Raise any other error again."""
    if isinstance(error, ValidationError):
        return _fail(attributed(sentences(error), arguments), _USAGE)
    if isinstance(error, CommandLineError):
        return _fail(_reason(error), _USAGE)
    if isinstance(error, UsageError):
        return _fail(attributed(str(error), arguments), _USAGE)
    if isinstance(error, ParamshareError):
        return _fail(str(error), FAILED)
    raise error


def _reason(error: CommandLineError) -> str:
    """Return an error that pydantic finds in the command line, with the argument as it is typed."""
    reason = str(error).splitlines()[0].removeprefix("error parsing CLI: ").removeprefix("Error: ")
    if match := _NOT_JSON.fullmatch(reason):
        *command, name = match[1].split(".")
        return f"{name.upper()} is not valid JSON: {match[2]}; see {' '.join(('paramshare', *command))} --help"
    return f"{reason}; see paramshare --help"


def _parser(program: type[BaseSettings] | None = None) -> tuple[Parser, CliSettingsSource[Parser]]:
    """Return the parser of the whole command line, and the source of settings that reads its result.

    Args:
        program: the class of the command line. Defaults to that whose commands train the default recipe.
    """
    program = program or program_for(Paramshare, ()).root
    parser = Parser(prog="paramshare", description=Paramshare.__doc__, version=f"paramshare {version('paramshare')}")
    return parser, CliSettingsSource[Parser](program, root_parser=parser, add_argument_method=Parser.add_argument)


def _interrupted(code: int, end: BaseException) -> int:
    """Print that a signal ended the command, and the progress of a sweep if one was running; return the exit code."""
    verb = "interrupted" if code == INTERRUPTED else "terminated"
    note = _note(end)
    return _fail(f"{verb}; {note}; rerun the command to resume" if note else verb, code)


def _note(error: BaseException | None) -> str:
    """Return the first note of an exception; empty if there is none.

    While Prefect handles SIGTERM, it sends the signal again: the second exception has the noted one as its context.
    """
    while error is not None:
        if notes := getattr(error, "__notes__", []):
            return str(notes[0])
        error = error.__context__
    return ""


def _fail(message: str, code: int) -> int:
    print(f"paramshare: {without_secrets(message)}", file=sys.stderr)  # noqa: T201
    return code
