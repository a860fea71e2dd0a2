"""Make standard input, output and error safe: they can be closed, full, unread, or lack characters.

`prepare_streams` wraps `sys.stdout` and `sys.stderr` of a terminal, a pipe or a file. A stream of a test or of a
notebook is not wrapped. Three rules hold afterwards:

- A closed stream is `/dev/null`, so that no file that is opened later gets its descriptor.
- A failed write to stdout raises once: `ReaderGoneError` for a closed pipe, `OutputError` otherwise. A failed write to
  stderr is ignored, since unreadable progress must not stop the work.
- A character that the encoding lacks is replaced and is not an error.
"""

import codecs
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from paramshare.errors import ParamshareError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["OutputError", "ReaderGoneError", "prepare_streams"]

_HANDLER: Final = "paramshare.plain"
_PLAIN: Final = dict(zip("×·–—−’", "x*---'", strict=True)) | {"…": "...", "→": "->", "≤": "<=", "≥": ">="}


class OutputError(ParamshareError):
    """An error of a write to standard output, such as of a full disk."""


class ReaderGoneError(Exception):
    """The end of the program that reads standard output, such as `head`."""


def prepare_streams() -> None:
    """Open `/dev/null` for each closed stream, and wrap the others."""
    codecs.register_error(_HANDLER, _replace)
    for descriptor in range(3):
        _occupy(descriptor)
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115 - open as long as the process
    sys.stdout = _wrapped(sys.stdout, sys.__stdout__, _Output, 1)
    sys.stderr = _wrapped(sys.stderr, sys.__stderr__, _Remarks, 2)


def _occupy(descriptor: int) -> None:
    """Open `/dev/null` as this descriptor if the descriptor is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


class _Output(io.FileIO):
    """A descriptor whose first failed write raises. Later writes are ignored, so that Python can exit."""

    _failed = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write some of `data` and return the number of bytes."""
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            self._failed = True
            raise ReaderGoneError from None
        except OSError as error:
            self._failed = True
            raise OutputError(
                f"the output cannot be written: {error.strerror}; free space or send the output elsewhere"
            ) from None


class _Remarks(io.FileIO):
    """A descriptor whose failed writes are ignored."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write some of `data` and return the number of bytes."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _wrapped(stream: TextIO | None, original: TextIO | None, kind: type[io.FileIO], descriptor: int) -> TextIO:
    """Return a stream over `descriptor` in the encoding of `stream`, or `stream` if it is not Python's own."""
    if stream is not None and (stream is not original or not isinstance(stream, io.TextIOWrapper)):
        return stream
    encoding = stream.encoding if stream is not None else "utf-8"
    if stream is not None:
        stream.flush()
    raw = kind(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=encoding,
        errors=_HANDLER,
        line_buffering=descriptor == 2 or raw.isatty(),
    )


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Return plain characters for those that an encoding lacks: `x` for ×, an escape if there is no plain form."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character) or _escaped(character) for character in lacking), error.end


def _escaped(character: str) -> str:
    """Return the escape of a character, or of the byte that Python could not decode."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode("ascii")
