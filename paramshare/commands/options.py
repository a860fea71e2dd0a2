"""The options of commands: the spec and the store that they name, and the commands that continue with that store."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel

from paramshare.errors import without_secrets
from paramshare.setting_origins import print_store_remarks
from paramshare.settings import StoreSettings, without_options

if TYPE_CHECKING:
    from paramshare.sweep.result import SweepResult
    from paramshare.tracking.store import StoreAddress

__all__ = ["address_of", "curves_place", "flush_command", "pages_place", "serve_command", "spec_of"]

_MODEL_PORT: Final = "5001"  # MLflow's pages have 5000

_NAME: Final = "paramshare"

Spec = TypeVar("Spec", bound=BaseModel)


def spec_of(options: BaseModel, spec: type[Spec]) -> Spec:
    """Return the spec that the options of a command contain.

    Args:
        options: a command with every field of the spec.
        spec: the class of the spec.
    """
    return spec(**{name: getattr(options, name) for name in spec.model_fields})


def address_of(settings: StoreSettings) -> "StoreAddress":
    """Return the address of the store. Report on stderr which of MLflow's variables name the store."""
    from paramshare.tracking.store import StoreAddress

    address = StoreAddress.of(settings.tracking_uri, settings.experiment)
    print_store_remarks(settings)
    return address


def pages_place(settings: StoreSettings, *options: str) -> str:
    """Return where MLflow's pages are: the command that opens them on the store, ready to be pasted into this terminal.

    If the settings say where browsers find the pages, as in the containers of a stack, it is that address.

    The command does not contain the user and password of the store's address; the user has to add them.

    Args:
        options: the options of the command, beside those that name the store.
    """
    return settings.pages_url or _command(settings, "ui", *options)


def flush_command(settings: StoreSettings) -> str:
    """Return the command that delivers the results in the spool to the store, see `pages_place`."""
    return _command(settings, "flush")


def serve_command(settings: StoreSettings, model_uri: str) -> str:
    """Return the command that serves a registered model of the store on this machine; see `pages_place`.

    MLflow starts uvicorn by its name. So the folder of both programs must be on the PATH.
    """
    words = ["mlflow", "models", "serve", "--model-uri", model_uri, "--env-manager", "local", "--port", _MODEL_PORT]
    folder = Path(sys.executable).parent
    variables = "" if _is_on_path(folder / words[0]) else f'PATH={shlex.quote(str(folder))}:"$PATH" '
    return f"{variables}MLFLOW_TRACKING_URI={shlex.quote(address_of(settings).uri)} {shlex.join(words)}"


def curves_place(settings: StoreSettings, result: "SweepResult") -> str:
    """Return the address of the figure of a sweep's curves: a file, or a page of MLflow's server.

    The address is empty while results are kept in the spool: there is no figure then.
    """
    if not result.curves or address_of(settings).database is not None:
        return result.curves
    from paramshare.tracking.display.urls import artifact_url
    from paramshare.tracking.pages import server_url
    from paramshare.tracking.tags import CURVES_FILE

    base = (settings.pages_url or server_url(address_of(settings))).rstrip("/") + "/"
    return artifact_url(base, result.experiment_id, result.parent_run_id, CURVES_FILE)


def _program() -> list[str]:
    """Return the words that start this program again from this folder, also if a script or a notebook called it."""
    program = Path(sys.argv[0])
    if program.name != _NAME:
        return [_typed(Path(sys.executable)), "-m", _NAME]
    return [_typed(program) if program.is_file() else _NAME]


def _typed(program: Path) -> str:
    """Return the name of a program that the shell finds, else its path from this folder."""
    return program.name if _is_on_path(program) else os.path.relpath(program)


def _is_on_path(program: Path) -> bool:
    """Return true if a shell starts the program by its name."""
    on_path = shutil.which(program.name)
    return on_path is not None and Path(on_path).samefile(program)


def _command(settings: StoreSettings, name: str, *options: str) -> str:
    words = [*_program(), name]
    defaults = without_options()  # the environment and the files set these values for that command, too
    for option in StoreSettings.model_fields:
        if (value := getattr(settings, option)) != getattr(defaults, option):
            words += [f"--{option.replace('_', '-')}", without_secrets(str(value))]
    return shlex.join([*words, *options])
