"""A model by its import path: `pkg.module:name` or `file.py:name`, built on the meta device where that works."""

import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from paramshare.errors import SpecError

__all__ = ["load_model"]


def load_model(path: str, arguments: Mapping[str, object] | None = None) -> nn.Module:
    """Import and build a model. That code is the only code of others that is run.

    Args:
        path: `pkg.module:name`, found from the working directory too, or `path/to/file.py:name`. The name, which may
            have dots, is of a module, or of a class or function that makes one.
        arguments: what the class or function is called with, by name.

    Raises:
        SpecError: there is nothing under that path, it fails to import, or it does not make a module as it is called.
    """
    module_path, _, name = path.rpartition(":")
    if not module_path or not name:
        raise SpecError(f"{path!r} is not an import path; expected pkg.module:name or path/to/file.py:name")
    found = _attribute(_imported(module_path), name, path)
    if isinstance(found, nn.Module):
        if arguments:
            raise SpecError(f"{path} is a model already and takes no arguments; name its class to build it with some")
        return found
    if not callable(found):
        raise SpecError(f"{path} is a {type(found).__name__}; expected a torch.nn.Module, or what makes one")
    return _built(found, dict(arguments or {}), path)


def _imported(module_path: str) -> ModuleType:
    try:
        return _from_file(Path(module_path)) if module_path.endswith(".py") else _from_package(module_path)
    except SpecError:
        raise
    except Exception as error:  # whatever the imported code raises
        raise SpecError(f"importing {module_path} failed: {_reason(error)}") from error


def _from_package(module_path: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_path}.".startswith(f"{error.name}."):
            raise
        raise SpecError(
            f"there is no module {error.name!r} to import {module_path} from; install it, or run from its folder"
        ) from error


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise SpecError(f"there is no file {str(file)!r}; expected path/to/file.py:name")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"paramshare_file_{file.stem}", file)  # never shadows a library
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as dataclasses and pickle expect
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, name: str, path: str) -> object:
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, dir(found), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SpecError(f"there is no {part!r} in {path.rpartition(':')[0]}{hint}")
        found = getattr(found, part)
    return found


def _built(make: Callable[..., object], arguments: Mapping[str, object], path: str) -> nn.Module:
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise SpecError(
            f"{path} cannot be called with {_listed(arguments)}: {error}; "
            "its arguments are given as --args '{\"name\": value}'"
        ) from error
    except ValueError:
        pass  # a signature that Python cannot see
    try:
        with torch.device("meta"):
            model = make(**arguments)
    except Exception:  # it reads values while it is built: with memory, then
        try:
            model = make(**arguments)
        except Exception as error:
            raise SpecError(f"building {path} with {_listed(arguments)} failed: {_reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"{path} made a {type(model).__name__}; expected a torch.nn.Module")
    return model


def _listed(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items()) or "no arguments"


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
