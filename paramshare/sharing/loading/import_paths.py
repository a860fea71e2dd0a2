"""Import an object by its import path: `pkg.module:name` or `file.py:name`."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from paramshare.errors import SpecError, did_you_mean, in_a_line
from paramshare.sharing.loading.import_advice import companion_advice, neighbour_advice, package_advice
from paramshare.sharing.loading.user_code import running_user_code

__all__ = ["failure", "import_object"]

_NO_SCRIPT: Final = "put code that runs as a script below `if __name__ == '__main__':`"


def import_object(path: str, files: dict[Path, ModuleType] | None = None) -> object:
    """Import a module and return an attribute of it.

    Args:
        path: `pkg.module:name`, also found from the working directory, or `path/to/file.py:name`. The name may have
            dots.
        files: the loaded modules by file path. These files do not run again, and new files are added.

    Raises:
        SpecError: the path does not exist, or the module fails to import.
    """
    module_path, _, name = path.rpartition(":")
    if not module_path or not name:
        raise SpecError(f"{path!r} is not an import path; expected {_completed(path)}")
    with running_user_code(f"importing {module_path}", module_path, _NO_SCRIPT):
        try:
            module = _module(module_path, name, {} if files is None else files)
        except SpecError:
            raise
        except Exception as error:  # the imported code may raise anything
            raise SpecError(failure(f"importing {module_path}", error)) from error
    return _attribute(module, name, path)


def failure(doing: str, error: Exception) -> str:
    """Return one line about a failure of the user's code, with advice if a library does not match torch."""
    return f"{doing} failed: {companion_advice(error) or in_a_line(error)}"


def _completed(path: str) -> str:
    """Return advice on how to complete a path without a name."""
    if path.rstrip(":").endswith(".py"):
        return f"{path.rstrip(':')}:NAME, with the name of the class or function in that file"
    package, _, name = path.partition(":")[0].rpartition(".")
    if package and name.isidentifier() and not path.endswith(":"):
        return f"pkg.module:name, such as {package}:{name}, or path/to/file.py:name"
    return "pkg.module:name or path/to/file.py:name"


def _module(module_path: str, name: str, files: dict[Path, ModuleType]) -> ModuleType:
    try:
        if not module_path.endswith(".py"):
            return _from_package(module_path)
        file = Path(module_path)
        place = file.resolve()
        if place not in files:
            files[place] = _from_file(file)
        return files[place]
    except ImportError as error:
        if module_path.endswith(".py"):
            advice = package_advice(Path(module_path), name, error)
        else:
            advice = neighbour_advice(module_path, name, error) if isinstance(error, ModuleNotFoundError) else None
        if advice is None:
            raise
        raise SpecError(f"importing {module_path} failed: {in_a_line(error)}; {advice}") from error


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
            f"module {error.name!r} of {module_path} was not found; install it, or run from its folder"
        ) from error


def _from_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise SpecError(f"file {str(file)!r} does not exist; expected path/to/file.py:name")
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
    value: object = module
    for part in name.split("."):
        if not hasattr(value, part):
            raise SpecError(f"there is no {part!r} in {path.rpartition(':')[0]}{did_you_mean(part, dir(value))}")
        value = getattr(value, part)
    return value
