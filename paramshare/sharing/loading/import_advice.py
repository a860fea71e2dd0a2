"""Give advice for a failed import: a file of a package, or a library that was built for another torch."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import torch

__all__ = ["companion_advice", "neighbour_advice", "package_advice"]

_NO_OPERATOR: Final = re.compile(r"operator (\w+)::\w+ does not exist")
_NOT_LOADED: Final = re.compile(r"(?:Could not load this library|undefined symbol).*", re.DOTALL)
_LIBRARY: Final = re.compile(r"/(\w+)/(?:lib/)?[^/\s]+\.so")
_INDEX: Final = re.compile(r"cpu|xpu|cu\d+|rocm[\d.]+")
_FIRST_TORCHVISION: Final = 15
"""The minor version of torchvision for torch 2.0; both have increased together since."""


def companion_advice(error: BaseException) -> str | None:
    """Return advice about a library whose operators were built for another torch; None for any other error.

    Args:
        error: the error of an import. Its causes are searched too, since libraries wrap such errors.
    """
    for cause in _causes(error):
        text = str(cause)
        if match := _NO_OPERATOR.search(text):
            return _advice(match[1], match[0])
        if (broken := _NOT_LOADED.search(text)) and (library := _LIBRARY.search(text)):
            return _advice(library[1], broken[0].splitlines()[0])
    return None


def package_advice(file: Path, name: str, error: BaseException) -> str | None:
    """Return the import path of a file that imports from its own package; None for any other error.

    Args:
        file: the file that failed to import.
        name: the requested name in the file.
        error: the error of the import.
    """
    folder = file.resolve().parent
    root = folder.parent if not (folder / "__init__.py").exists() else folder
    while (root / "__init__.py").exists():
        root = root.parent
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        root = next((parent for parent in folder.parents if package and (parent / package).is_dir()), folder)
        if root == folder:
            return None
    elif not (isinstance(error, ImportError) and "relative import" in str(error)):
        return None
    dotted = ".".join(file.resolve().relative_to(root).with_suffix("").parts)
    where = "" if root == Path.cwd() else f" and run from {root}"
    return f"the file is part of a package: name it as {dotted}:{name}{where}"


def neighbour_advice(module: str, name: str, error: ModuleNotFoundError) -> str | None:
    """Return the path of a module that imports its neighbours as a script does; None without such a neighbour."""
    file = Path(*module.split(".")).with_suffix(".py")
    neighbour = file.parent / f"{(error.name or '').partition('.')[0]}.py"
    if not (file.is_file() and neighbour.is_file()):
        return None
    return f"{file} imports its neighbours as a script does: name it as {file}:{name}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _advice(library: str, reason: str) -> str:
    try:
        installed = f"{library} {version(library)}"
    except PackageNotFoundError:
        installed = library
    return (
        f"{installed} was not built for the torch {torch.__version__} that is installed ({reason}); "
        f"install the matching build: {_command(library)}"
    )


def _command(library: str) -> str:
    """Return the command that installs the library from the package index of the installed torch."""
    release, _, build = torch.__version__.partition("+")
    major, minor, *_ = release.split(".")
    matching = {"torchvision": f"0.{int(minor) + _FIRST_TORCHVISION}", "torchaudio": f"{major}.{minor}"}
    wanted = f"'{library}=={matching[library]}.*'" if library in matching and major == "2" else library
    command = f"pip install --force-reinstall --no-deps {wanted}"
    if _INDEX.fullmatch(build):
        return f"{command} --index-url https://download.pytorch.org/whl/{build}"
    return f"{command}, from the index that torch came from"
