"""Load a model by its import path, `pkg.module:name` or `file.py:name`, on the meta device if possible."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.sharing.loading.import_paths import failure, import_object
from paramshare.sharing.loading.user_code import call_mismatch, running_user_code

__all__ = ["load_model"]


def load_model(
    path: str, arguments: Mapping[str, object] | None = None, files: dict[Path, ModuleType] | None = None
) -> nn.Module:
    """Import and build a model.

    Args:
        path: `pkg.module:name`, also found from the working directory, or `path/to/file.py:name`. The name, which may
            have dots, refers to a module, or to a class or function that returns a module.
        arguments: the named arguments of the class or function.
        files: the loaded files, as for `import_object`.

    Raises:
        SpecError: the path does not exist, the code fails or ends the program, or the result is not a module.
    """
    model = import_object(path, files)
    if isinstance(model, nn.Module):
        if arguments:
            raise SpecError(f"{path} is a model already and takes no arguments; give the path of its class")
        return model
    if not callable(model):
        raise SpecError(
            f"{path} is a {type(model).__name__}; expected a torch.nn.Module, or a class or function that "
            "returns a module"
        )
    return _built(model, dict(arguments or {}), path)


def _built(make: Callable[..., object], arguments: Mapping[str, object], path: str) -> nn.Module:
    if mismatch := call_mismatch(make, arguments):
        raise SpecError(
            f"{path} cannot be called with {_listed(arguments)}: {mismatch}; "
            'give its arguments by name in args, such as {"width": 64}'
        ) from mismatch
    building = f"building {path} with {_listed(arguments)}"
    with running_user_code(building, path.rpartition(":")[0]):
        try:
            with torch.device("meta"):
                model = make(**arguments)
        except Exception:  # the constructor reads values: build the model with memory
            try:
                model = make(**arguments)
            except Exception as error:
                raise SpecError(failure(building, error)) from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"{path} returned a {type(model).__name__}; expected a torch.nn.Module")
    return model


def _listed(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "no arguments"
