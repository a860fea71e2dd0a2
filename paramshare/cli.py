"""The command line: parse, call the library or a flow, print. Each command imports what it needs when it runs."""

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliSubCommand, SettingsConfigDict
from pydantic_settings import SettingsError as CommandLineError

from paramshare.errors import ParamshareError, UsageError
from paramshare.settings import StoreSettings, check_names
from paramshare.sweep.spec import SweepSpec

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from paramshare.sweep.run import Outcome
    from paramshare.tracking.store import StoreAddress

__all__ = ["main"]

_FAILED, _USAGE = 1, 2
_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # as shells have it
_TO_GO_ON = "what was finished stays, run the same command again for the rest"


class _SweepCommand(StoreSettings, SweepSpec):
    model_config = SettingsConfigDict(extra="ignore")

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of a table")

    def sweep_spec(self) -> SweepSpec:
        """What to sweep, without where and how it is shown."""
        return SweepSpec(**{name: getattr(self, name) for name in SweepSpec.model_fields})

    def end(self, outcome: "Outcome") -> NoReturn:
        """Print what came out and leave with the exit code."""
        if self.as_json:
            print(json.dumps(outcome.as_dict(), allow_nan=False))  # noqa: T201 - the answer itself
        else:
            from paramshare.console import print_outcome

            print_outcome(outcome, _ui_command(self))
        raise SystemExit(_FAILED if outcome.failed else 0)


class Train(_SweepCommand):
    """Train a sweep here and now, each seed a run in MLflow.

    paramshare train --seeds 0:100 --devices cpu
    """

    def cli_cmd(self) -> None:
        """Run the sweep in this process and its own pool."""
        from paramshare.console import sweep_progress
        from paramshare.sweep.run import run_sweep

        with sweep_progress() as (on_open, on_row):
            tags = {"mlflow.source.name": "paramshare train", "mlflow.source.type": "LOCAL"}
            outcome = run_sweep(self.sweep_spec(), _address(self), tags, on_open, on_row)
        self.end(outcome)


class FlowSweep(_SweepCommand):
    """The same sweep as a Prefect flow: with its history and a report, on your Prefect server or one of its own.

    paramshare flow sweep --seeds 0:100 --devices auto
    """

    def cli_cmd(self) -> None:
        """Run the flow, against a Prefect API that is there or one that ends with this process."""
        from paramshare.console import sweep_progress
        from paramshare.sweep.run import check_sweep

        with sweep_progress() as (on_open, on_row):
            check_sweep(self.sweep_spec(), _address(self))  # bad input is said at once, and not by a failed flow
            if sys.stdout.isatty():  # the bar tells of progress there
                os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
            from flows.sweep import run_flow

            outcome = run_flow(self.sweep_spec(), _address(self), on_open, on_row)
        self.end(outcome)


class Flow(BaseModel):
    """Run a Prefect flow."""

    sweep: CliSubCommand[FlowSweep] = Field(description="the sweep of `train`, as a Prefect flow")

    def cli_cmd(self) -> None:
        """Run the flow's own command."""
        CliApp.run_subcommand(self)


class Ui(StoreSettings):
    """Open MLflow's pages on the store in use, at this project's experiment; Ctrl-C ends them."""

    port: int = Field(5000, ge=1, le=65535, description="the port on 127.0.0.1 for an embedded store's pages")
    browser: bool = Field(True, description="open a browser on the page")

    def cli_cmd(self) -> None:
        """Serve an embedded store's pages until interrupted; for a server, say where its pages are."""
        from paramshare.tracking.pages import experiment_url, served_pages, server_url
        from paramshare.tracking.store import open_store

        store = open_store(_address(self))
        url = experiment_url(server_url(store, self.port), store.experiment_id)
        if store.address.database is None:
            _show_page(url, self.browser)
            return
        with served_pages(store, self.port) as server:
            _show_page(url, self.browser)
            print("Ctrl-C ends it.", file=sys.stderr)  # noqa: T201
            with suppress(KeyboardInterrupt):
                server.wait()


class Doctor(StoreSettings):
    """Say what is here: versions, devices and why each is there, the store and the servers."""

    def cli_cmd(self) -> None:
        """Print a line a check; exit 1 where one fails."""
        from flows.server import check_api
        from paramshare.console import print_checks
        from paramshare.doctor import examine

        checks = [*examine(_address(self)), ("Prefect", *check_api())]
        print_checks(checks)
        raise SystemExit(0 if all(well for _, _, well in checks) else _FAILED)


class Paramshare(BaseSettings):
    """What does sharing weights buy? Train with and without, track every run, compare."""

    model_config = SettingsConfigDict(
        cli_prog_name="paramshare",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        cli_enforce_required=False,
    )

    train: CliSubCommand[Train] = Field(description="train a sweep here and now")
    flow: CliSubCommand[Flow] = Field(description="run a Prefect flow")
    ui: CliSubCommand[Ui] = Field(description="open MLflow's pages on the runs")
    doctor: CliSubCommand[Doctor] = Field(description="say what is here and whether it works")

    def cli_cmd(self) -> None:
        """Run the command that was named."""
        CliApp.run_subcommand(self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 all well, 1 a run failed, 2 wrong usage.

    Args:
        arguments: the command line after the program's name; this process's unless given.
    """
    signal.signal(signal.SIGTERM, _leave)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        check_names((Train, FlowSweep, Ui, Doctor))
        CliApp.run(Paramshare, given or ["--help"])
    except SystemExit as end:
        if end.code == _TERMINATED:
            return _say(f"terminated; {_TO_GO_ON}", _TERMINATED)
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return _say(f"interrupted; {_TO_GO_ON}", _INTERRUPTED)
    except ValidationError as error:
        return _say("; ".join(_sentence(detail) for detail in error.errors(include_url=False)), _USAGE)
    except CommandLineError as error:
        reason = str(error).splitlines()[0].removeprefix("error parsing CLI: ").removeprefix("Error: ")
        return _say(f"{reason}; see paramshare --help", _USAGE)
    except UsageError as error:
        return _say(str(error), _USAGE)
    except ParamshareError as error:
        return _say(str(error), _FAILED)
    return 0


def _sentence(detail: "ErrorDetails") -> str:
    """One of pydantic's complaints: `--steps is '-3': input should be greater than or equal to 1`."""
    reason = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":  # our own words, which name what was given
        return reason
    option = "--" + str(detail["loc"][-1]).replace("_", "-")
    return f"{option} is {detail['input']!r}: {reason[0].lower()}{reason[1:]}"


def _say(message: str, code: int) -> int:
    print(f"paramshare: {message}", file=sys.stderr)  # noqa: T201
    return code


def _leave(_signum: int, _frame: object) -> NoReturn:
    """Let SIGTERM unwind the stack, so that what is open is ended truthfully."""
    raise SystemExit(_TERMINATED)


def _address(settings: StoreSettings) -> "StoreAddress":
    from paramshare.tracking.store import StoreAddress

    return StoreAddress.of(settings.tracking_uri, settings.experiment)


def _ui_command(settings: StoreSettings) -> str:
    """The command that opens MLflow's pages on the store of `settings`, as it can be pasted into this terminal."""
    program = Path(sys.argv[0])
    on_path = shutil.which(program.name)
    started_by_path = not program.is_file() or (on_path and Path(on_path).samefile(program))
    words = ["paramshare" if started_by_path else os.path.relpath(program), "ui"]
    found_again = StoreSettings()  # what the environment and the files say, they will say to that command too
    for name in StoreSettings.model_fields:
        if (value := getattr(settings, name)) != getattr(found_again, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _show_page(url: str, browser: bool) -> None:
    print(url, flush=True)  # noqa: T201 - the answer itself
    if browser:
        import webbrowser

        webbrowser.open(url)
