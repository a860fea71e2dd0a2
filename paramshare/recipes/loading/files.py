"""The source of a recipe: its file and the files that it imports beside it, so that any process can load the class.

The files travel with each chunk of a sweep, and every process loads the recipe from their text. So a worker trains what
the sweep has read, even if a file is changed meanwhile, or the worker runs on another machine.
"""

import ast
import hashlib
import importlib.util
import inspect
import linecache
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FunctionType, ModuleType

from paramshare.errors import SpecError

__all__ = ["SourceFile", "digest_of", "load_files", "read_files", "stop_if_loaded", "text_of_class"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A Python file of a recipe.

    Args:
        module: the name of its module, such as `helper` or `package.part`; empty for the recipe's own file.
        path: where it was read.
        text: its content.
        package: whether it is the `__init__.py` of a package.
    """

    module: str
    path: str
    text: str
    package: bool = False


def read_files(file: Path) -> tuple[SourceFile, ...]:
    """Return a recipe's file and, recursively, the files beside it that it imports.

    Modules of Python's standard library are never taken from that folder.

    Raises:
        SpecError: the file does not exist or is not Python.
    """
    main = _read(file, "")
    folder, files, names = file.resolve().parent, [main], {"__init__"}
    waiting = [main]
    while waiting:
        for name in _imported(waiting.pop()):
            for module, place in _beside(folder, name):
                if module not in names and place.resolve() != file.resolve():
                    names.add(module)
                    files.append(_read(place, module))
                    waiting.append(files[-1])
    return tuple(files)


def text_of_class(recipe: type) -> str:
    """Return the source of a class of a notebook; empty if it is not known.

    It is that of the cells that define its methods and the functions and classes that they name, and so on.
    """
    places: dict[str, None] = {}
    known: set[object] = set()
    waiting = _functions(recipe)
    while waiting:
        function = waiting.pop(0)
        if function in known:
            continue
        known.add(function)
        places[function.__code__.co_filename] = None
        named = (function.__globals__.get(name) for name in function.__code__.co_names)
        waiting += [each for value in named for each in _functions(value) if each.__module__ == recipe.__module__]
    return "".join(line for place in places for line in linecache.getlines(place))


def _functions(value: object) -> list[FunctionType]:
    """Return a function itself, or the functions that a class defines."""
    if inspect.isclass(value):
        return [function for function in vars(value).values() if inspect.isfunction(function)]
    return [value] if inspect.isfunction(value) else []


def stop_if_loaded() -> None:
    """End the run of a recipe's file if its class is being loaded. A function that trains calls this first.

    So a script that defines a recipe and trains it needs no `if __name__ == "__main__"`: workers load its definitions.
    """
    if _loading.get():
        raise _Reached


def digest_of(files: Sequence[SourceFile]) -> str:
    """Return a hash (16 hex digits) of the names and contents of the files. It does not depend on their folder."""
    content = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.module):
        content.update(f"{file.module}\0{file.text}\0".encode())
    return content.hexdigest()[:16]


def load_files(files: Sequence[SourceFile], digest: str) -> ModuleType:
    """Run the recipe's file as a module and return the module. Imports of the other files find their texts.

    A second call with the same digest returns the same module.
    """
    main, *others = files
    name = f"paramshare_recipe_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    for file in others:  # another recipe may have files of the same names
        sys.modules.pop(file.module, None)
    finder = _Finder(others)
    sys.meta_path.insert(0, finder)
    try:
        return _run(name, main)
    finally:
        sys.meta_path.remove(finder)
        sys.meta_path.append(finder)  # for imports within functions; everything that is installed comes first


class _Reached(BaseException):
    """A script has reached the line that trains."""


_loading: ContextVar[bool] = ContextVar("loading", default=False)


@contextmanager
def _running() -> Iterator[None]:
    token = _loading.set(True)
    try:
        yield
    finally:
        _loading.reset(token)


class _Finder:
    """Find the modules of a recipe's files by their names."""

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._files = {file.module: file for file in files}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return the spec of a module of the recipe; None for any other module."""
        if name not in self._files:
            return None
        file = self._files[name]
        spec = ModuleSpec(name, _TextLoader(file), origin=file.path, is_package=file.package)
        spec.has_location = True
        return spec


class _TextLoader(Loader):
    """Run a module from its text."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file

    def exec_module(self, module: ModuleType) -> None:
        """Run the text in `module`."""
        path, text = self._file.path, self._file.text
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)  # for tracebacks
        exec(compile(text, path, "exec"), module.__dict__)  # noqa: S102 - the user's own code


def _run(name: str, file: SourceFile) -> ModuleType:
    spec = ModuleSpec(name, _TextLoader(file), origin=file.path)
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as dataclasses and pickle expect
    try:
        assert isinstance(spec.loader, _TextLoader)
        with _running():
            spec.loader.exec_module(module)
    except _Reached:
        pass  # a script that trains what it defines: the rest of it is not run
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _read(file: Path, module: str) -> SourceFile:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot read {str(file)!r} ({error.strerror}); pass the path of a Python file") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{str(file)!r} is not text in UTF-8; pass the path of a Python file") from error
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise SpecError(f"{file}{line}: {reason}") from error
    return SourceFile(module, str(file.resolve()), text, package=bool(module) and file.name == "__init__.py")


def _imported(file: SourceFile) -> Iterator[str]:
    """Yield the full name of every module that the file imports, wherever in the file."""
    package = file.module if file.package else file.module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _beside(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the module and file of each part of a dotted name that is a file in `folder`."""
    parts = name.split(".")
    if not parts[0] or parts[0] in sys.stdlib_module_names:
        return
    for end in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:end])
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                yield ".".join(parts[:end]), file
                break
