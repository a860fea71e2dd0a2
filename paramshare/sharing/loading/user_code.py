"""Run the user's file as a program of its own: what it prints, how it exits and what it changes stay its own affair."""

import inspect
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import torch

from paramshare.errors import SpecError, in_a_line

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["process_as_found", "running_user_code", "why_not_callable"]

_TERMINATED: Final = 128 + signal.SIGTERM
"""The code of the SystemExit that the command line raises for SIGTERM: it is not the user's."""


@contextmanager
def running_user_code(doing: str, program: str, advice: str = "a model must not end it") -> Iterator[None]:
    """Run a block that runs the user's code.

    What the code prints goes to stderr, so that stdout holds the answer alone. The code finds no command line but its
    own name in `sys.argv`. If it ends the program, what it printed is reduced to the last line, in the error.

    Args:
        doing: the subject of an error's sentence, such as `importing my_net.py`.
        program: what `sys.argv[0]` is.
        advice: what to do if the code ends the program.

    Raises:
        SpecError: the code ends the program, by `sys.exit()` or an exception that is not an Exception.
    """
    held, argv = _Held(sys.stderr), sys.argv
    stream = io.TextIOWrapper(held, encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]
    sys.argv = [program]
    try:
        with redirect_stderr(stream), redirect_stdout(stream), _descriptor_of_stdout_on_stderr():
            yield
    except SystemExit as end:
        if end.code == _TERMINATED:
            raise
        raise SpecError(f"{doing} ended the program{_exit_reason(end, held.drop())}; {advice}") from end
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # such as the one by which pytest skips a module
        raise SpecError(f"{doing} failed: {in_a_line(error)}") from error
    finally:
        sys.argv = argv
        held.release()


@contextmanager
def process_as_found() -> Iterator[None]:
    """Undo at the end of the block what the user's code does to the process.

    The working directory, the search path of modules, torch's default type and device are as before. Modules that were
    imported from folders of the user are forgotten: another file may have neighbours of the same names.
    """
    folder, search, modules = Path.cwd(), list(sys.path), set(sys.modules)
    kind, device = torch.get_default_dtype(), torch.get_default_device()
    try:
        yield
    finally:
        added = [path for path in sys.path if path not in search]
        _forget(added, modules)
        sys.path[:] = search
        with suppress(OSError):  # its folder was removed
            os.chdir(folder)
        if torch.get_default_dtype() is not kind:
            torch.set_default_dtype(kind)
        if torch.get_default_device() != device:
            torch.set_default_device(device)


def why_not_callable(function: Callable[..., object], arguments: Mapping[str, object]) -> TypeError | None:
    """Return why a function does not take these arguments; None if it does, or if its signature cannot be seen."""
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        return error
    except ValueError:
        return None
    return None


class _Held(io.RawIOBase):
    """A stream that keeps what is written until the block has ended, and passes it on after that.

    The user's code may wrap or close this stream without harm to the one behind it.

    Args:
        behind: the text stream that everything is passed on to.
    """

    def __init__(self, behind: TextIO) -> None:
        super().__init__()
        self._behind = behind
        self._kept: bytearray | None = bytearray()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Keep the data, or pass it on."""
        content = bytes(data)
        if self._kept is None:
            self._pass_on(content)
        else:
            self._kept += content
        return len(content)

    def isatty(self) -> bool:
        """Answer for the stream behind."""
        return self._behind.isatty()

    def fileno(self) -> int:
        """Answer for the stream behind."""
        return self._behind.fileno()

    def close(self) -> None:
        """Stay open: a logging handler may have kept this stream."""

    def drop(self) -> str:
        """Return what was kept, and forget it."""
        text = (self._kept or b"").decode(errors="replace")
        self._kept = bytearray()
        return text

    def release(self) -> None:
        """Pass on what was kept, and everything that follows."""
        if self._kept:
            self._pass_on(bytes(self._kept))
        self._kept = None

    def _pass_on(self, content: bytes) -> None:
        with suppress(OSError, ValueError):  # nobody reads stderr
            self._behind.write(content.decode(errors="replace"))
            self._behind.flush()


@contextmanager
def _descriptor_of_stdout_on_stderr() -> Iterator[None]:
    """Point file descriptor 1 at stderr: child processes and C code print there too."""
    try:
        stdout = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of the two is closed
        yield
        return
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _exit_reason(end: SystemExit, printed: str) -> str:
    """Return the exit code, and the last line that says something."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    code = 0 if end.code is None else end.code
    if isinstance(code, str):  # Python prints it and exits with 1
        lines, code = [*lines, *code.strip().splitlines()], 1
    return f" with exit code {code}{f': {lines[-1]}' if lines else ''}"


def _forget(folders: list[str], known: set[str]) -> None:
    """Remove the modules of the user's folders, but not of packages that are installed there or were known before."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in known or not isinstance(file, str) or "site-packages" in Path(file).parts:
            continue
        if any(Path(file).is_relative_to(folder) for folder in folders if folder):
            sys.modules.pop(name, None)
