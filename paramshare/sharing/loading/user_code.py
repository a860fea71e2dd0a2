"""Run a user's code apart from this program: isolate its output, its exit and its changes to the process."""

import inspect
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import torch

from paramshare.errors import SpecError, in_a_line
from paramshare.signals import TERMINATED

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["call_mismatch", "process_state_restored", "running_user_code"]


@contextmanager
def running_user_code(doing: str, program: str, advice: str = "a model must not end it") -> Iterator[None]:
    """Isolate the user's code that the block runs.

    The output of the code goes to stderr, so that stdout has only the result. `sys.argv` has only the name of the
    program. If the code ends the program, the error has the last line of the output.

    Args:
        doing: the subject of an error's sentence, such as `importing my_net.py`.
        program: the value of `sys.argv[0]`.
        advice: the advice in the error if the code ends the program.

    Raises:
        SpecError: the code ends the program, by `sys.exit()` or an exception that is not an Exception.
    """
    buffer, argv = _BufferedStream(sys.stderr), sys.argv
    stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]
    sys.argv = [program]
    try:
        with redirect_stderr(stream), redirect_stdout(stream), _descriptor_of_stdout_on_stderr():
            yield
    except SystemExit as end:
        if end.code == TERMINATED:
            raise
        raise SpecError(f"{doing} ended the program{_exit_reason(end, buffer.drop())}; {advice}") from end
    except (Exception, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # such as pytest's exception for a skipped module
        raise SpecError(f"{doing} failed: {in_a_line(error)}") from error
    finally:
        sys.argv = argv
        buffer.release()


@contextmanager
def process_state_restored() -> Iterator[None]:
    """Restore the state of the process at the end of the block.

    The state is the working directory, the search path of modules, and torch's default dtype and device. Modules that
    were imported from the user's folders are unloaded, since another file may have neighbours of the same names.
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


def call_mismatch(function: Callable[..., object], arguments: Mapping[str, object]) -> TypeError | None:
    """Return the error of a call with these arguments; None if they match or if the signature is unknown."""
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        return error
    except ValueError:
        return None
    return None


class _BufferedStream(io.RawIOBase):
    """A stream that buffers its data until the block has ended, and writes through after that.

    The user's code may wrap or close this stream without an effect on the target.

    Args:
        target: the text stream that receives the data.
    """

    def __init__(self, target: TextIO) -> None:
        super().__init__()
        self._target = target
        self._buffer: bytearray | None = bytearray()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Buffer the data, or write it to the target."""
        content = bytes(data)
        if self._buffer is None:
            self._write_through(content)
        else:
            self._buffer += content
        return len(content)

    def isatty(self) -> bool:
        """Return whether the target is a terminal."""
        return self._target.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the target."""
        return self._target.fileno()

    def close(self) -> None:
        """Do nothing, since a logging handler may still use this stream."""

    def drop(self) -> str:
        """Return the buffered text and clear the buffer."""
        text = (self._buffer or b"").decode(errors="replace")
        self._buffer = bytearray()
        return text

    def release(self) -> None:
        """Write the buffer to the target, and write through from now on."""
        if self._buffer:
            self._write_through(bytes(self._buffer))
        self._buffer = None

    def _write_through(self, content: bytes) -> None:
        with suppress(OSError, ValueError):  # stderr may be closed
            self._target.write(content.decode(errors="replace"))
            self._target.flush()


@contextmanager
def _descriptor_of_stdout_on_stderr() -> Iterator[None]:
    """Redirect file descriptor 1 to stderr, for the output of child processes and C code."""
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
    """Return the exit code and the last line that is not empty."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    code = 0 if end.code is None else end.code
    if isinstance(code, str):  # Python prints it and exits with 1
        lines, code = [*lines, *code.strip().splitlines()], 1
    return f" with exit code {code}{f': {lines[-1]}' if lines else ''}"


def _forget(folders: list[str], known: set[str]) -> None:
    """Unload the modules of the user's folders, except installed packages and packages that were loaded before."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in known or not isinstance(file, str) or "site-packages" in Path(file).parts:
            continue
        if any(Path(file).is_relative_to(folder) for folder in folders if folder):
            sys.modules.pop(name, None)
