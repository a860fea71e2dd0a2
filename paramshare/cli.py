"""The command line: which commands there are, and what a person reads when one goes wrong.

Each command imports what it needs when it runs, so that `--help` is instant.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliSettingsSource, CliSubCommand, SettingsConfigDict
from pydantic_settings import SettingsError as CommandLineError

from paramshare.commands.answer import FAILED
from paramshare.commands.comparing import Compare, FlowStudy, Study
from paramshare.commands.counting import Analyze, Article, FlowCount, Layer
from paramshare.commands.flushing import Flush
from paramshare.commands.proving import FlowVerify, Reproduce, Verify
from paramshare.commands.service import Doctor, Relocate, Ui
from paramshare.commands.training import FlowSweep, Train
from paramshare.errors import ParamshareError, SettingsError, UsageError, without_secrets
from paramshare.parser import Parser
from paramshare.progress_lines import no_foreign_bars
from paramshare.settings import check_names
from paramshare.streams import OutputError, ReaderGoneError, prepare_streams

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["main"]

_USAGE = 2
_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # as shells have it
_UNREAD = 128 + signal.SIGPIPE
_POSITIONAL = ("model", "kind")
_GARBAGE = (50_000, 20, 50)  # Python's 700 objects between two collections cost a tenth of the time of large imports


class Flow(BaseModel):
    """Run a Prefect flow."""

    sweep: CliSubCommand[FlowSweep] = Field(description="the sweep of `train`, as a Prefect flow")
    study: CliSubCommand[FlowStudy] = Field(description="the study of `study`, as a Prefect flow")
    count: CliSubCommand[FlowCount] = Field(description="`analyze --track` for several models, as a Prefect flow")
    verify: CliSubCommand[FlowVerify] = Field(description="the check of `verify`, as a Prefect flow")

    def cli_cmd(self) -> None:
        """Run the flow's own command."""
        CliApp.run_subcommand(self)


class Paramshare(BaseSettings):
    """What does sharing weights buy? Count it, train with and without, track every run, compare."""

    model_config = SettingsConfigDict(
        cli_prog_name="paramshare",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        cli_enforce_required=False,
    )

    analyze: CliSubCommand[Analyze] = Field(description="count a model's parameters, shared and not, layer by layer")
    layer: CliSubCommand[Layer] = Field(description="count one layer from its sizes")
    article: CliSubCommand[Article] = Field(description="the source article's example, put right")
    train: CliSubCommand[Train] = Field(description="train a sweep here and now")
    study: CliSubCommand[Study] = Field(description="train every variant over the same seeds, and compare")
    compare: CliSubCommand[Compare] = Field(description="groups of runs side by side, with n and intervals")
    reproduce: CliSubCommand[Reproduce] = Field(description="train a run again from its id alone and compare")
    verify: CliSubCommand[Verify] = Field(description="train a sample of a sweep's runs again and compare")
    flush: CliSubCommand[Flush] = Field(description="deliver results that a server could not take")
    flow: CliSubCommand[Flow] = Field(description="run a Prefect flow")
    ui: CliSubCommand[Ui] = Field(description="open MLflow's pages on the runs")
    relocate: CliSubCommand[Relocate] = Field(description="put a store right whose folder was moved or copied")
    doctor: CliSubCommand[Doctor] = Field(description="say what is here and whether it works")

    def cli_cmd(self) -> None:
        """Run the command that was named."""
        CliApp.run_subcommand(self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 all well, 1 a run failed, 2 wrong usage.

    Args:
        arguments: the command line after the program's name; this process's unless given.
    """
    if arguments is None:
        gc.set_threshold(*_GARBAGE)
    signal.signal(signal.SIGTERM, _leave)
    os.environ["PYTHONSAFEPATH"] = "1"  # no Python that is started from here looks for modules in the working directory
    prepare_streams()
    no_foreign_bars()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except ReaderGoneError:
        return _UNREAD
    except OutputError as error:
        return _say(str(error), FAILED)
    return code


def _run(given: list[str]) -> int:
    """Run one command, say in a line what was wrong, and return the exit code."""
    try:
        arguments = given or ["--help"]
        parser = Parser(
            prog="paramshare", description=Paramshare.__doc__, version=f"paramshare {version('paramshare')}"
        )
        source = CliSettingsSource[Parser](Paramshare, root_parser=parser, add_argument_method=Parser.add_argument)
        source(args=arguments)  # --help and --version end here, whatever the settings are
        _check_settings(arguments[0])
        CliApp.run(Paramshare, arguments, cli_settings_source=source)
    except SystemExit as end:
        if end.code == _TERMINATED:
            return _say(_cut_short("terminated", end), _TERMINATED)
        if isinstance(end.code, str):  # what Python itself would print
            return _say(end.code, FAILED)
        return end.code or 0
    except KeyboardInterrupt as end:
        return _say(_cut_short("interrupted", end), _INTERRUPTED)
    except ValidationError as error:
        return _say("; ".join(_sentence(detail) for detail in error.errors(include_url=False)), _USAGE)
    except CommandLineError as error:
        reason = str(error).splitlines()[0].removeprefix("error parsing CLI: ").removeprefix("Error: ")
        return _say(f"{reason}; see paramshare --help", _USAGE)
    except UsageError as error:
        return _say(str(error), _USAGE)
    except ParamshareError as error:
        return _say(str(error), FAILED)
    return 0


def _check_settings(command: str) -> None:
    """Refuse a setting that no command has; `doctor` names it and goes on."""
    try:
        check_names(
            (Train, Study, Compare, Flush, FlowSweep, FlowStudy, FlowCount, Reproduce, Verify, FlowVerify, Ui, Doctor)
        )
    except SettingsError as error:
        if command != "doctor":
            raise
        _say(str(error), _USAGE)


def _sentence(detail: "ErrorDetails") -> str:
    """One of pydantic's complaints: `--steps is '-3': input should be greater than or equal to 1`."""
    reason = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":  # our own words, which name what was given
        return reason
    name = str(detail["loc"][-1])
    option = name.upper() if name in _POSITIONAL else "--" + name.replace("_", "-")
    if detail["type"] == "missing":
        return f"{option} is missing; see paramshare --help"
    return f"{option} is {detail['input']!r}: {reason[0].lower()}{reason[1:]}"


def _cut_short(how: str, end: BaseException) -> str:
    """Return what a command says that was told to end: how far a sweep came, if one was running."""
    notes: list[str] = getattr(end, "__notes__", [])
    return f"{how}; {notes[0]}, run the same command again for the rest" if notes else how


def _say(message: str, code: int) -> int:
    print(f"paramshare: {without_secrets(message)}", file=sys.stderr)  # noqa: T201
    return code


def _leave(_signum: int, _frame: object) -> NoReturn:
    """Let SIGTERM unwind the stack, so that what is open is ended truthfully."""
    raise SystemExit(_TERMINATED)
