"""A model by its import path: `pkg.module:name` or `file.py:name`, built on the meta device where that works."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.loading.import_paths import failure, imported
from paramshare.sharing.loading.user_code import running_user_code, why_not_callable

__all__ = ["load_model"]


def load_model(
    path: str, arguments: Mapping[str, object] | None = None, files: dict[Path, ModuleType] | None = None
) -> nn.Module:
    """Import and build a model. That code is the only code of others that is run.

    Args:
        path: `pkg.module:name`, found from the working directory too, or `path/to/file.py:name`. The name, which may
            have dots, is of a module, or of a class or function that makes one.
        arguments: what the class or function is called with, by name.
        files: the files that were run before, as of `imported`.

    Raises:
        SpecError: there is nothing under that path, it fails to import or ends the program, or it does not make a
            module as it is called.
    """
    model = imported(path, files)
    if isinstance(model, nn.Module):
        if arguments:
            raise SpecError(f"{path} is a model already and takes no arguments; name its class to build it with some")
        return model
    if not callable(model):
        raise SpecError(f"{path} is a {type(model).__name__}; expected a torch.nn.Module, or what makes one")
    return _built(model, dict(arguments or {}), path)


def _built(make: Callable[..., object], arguments: Mapping[str, object], path: str) -> nn.Module:
    if mismatch := why_not_callable(make, arguments):
        raise SpecError(
            f"{path} cannot be called with {_listed(arguments)}: {mismatch}; "
            'give its arguments by name in args, such as {"width": 64}'
        ) from mismatch
    building = f"building {path} with {_listed(arguments)}"
    with running_user_code(building, path.rpartition(":")[0]):
        try:
            with torch.device("meta"):
                model = make(**arguments)
        except Exception:  # it reads values while it is built: with memory, then
            try:
                model = make(**arguments)
            except Exception as error:
                raise SpecError(failure(building, error)) from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"{path} made a {type(model).__name__}; expected a torch.nn.Module")
    return model


def _listed(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "no arguments"
