"""Standard output and error as the commands write to them: closed, full, or with nobody who reads any more.

What cannot be written to standard output is an error with one line and an exit code.  Nothing hangs on standard error:
what cannot be written there is dropped.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, ClassVar, TextIO

from tbperf.errors import TbperfError
from tbperf.printable import escape_unencodable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ESCAPED = "tbperf-escaped"
"""Name of the error handler that shows characters which an encoding lacks by their codes."""

codecs.register_error(ESCAPED, escape_unencodable)


class ReaderGoneError(TbperfError):
    """Whoever read standard output has stopped: nothing more is to be done or said, as with any command of a pipe."""

    exit_code: ClassVar[int] = 141  # 128 + SIGPIPE


def open_streams() -> None:
    """Put streams that fail in the way that is described above in the place of Python's own."""
    output, error = sys.stdout, sys.stderr
    _keep_closed_files_closed()
    sys.stdout = _text(_StandardOutput(_CLOSED if output is None else 1), output)
    sys.stderr = _text(_StandardError(_CLOSED if error is None else 2), error, line_buffering=True)


_CLOSED = -1


def _keep_closed_files_closed() -> None:
    """Take the numbers of standard files that are closed, so that no report that is being written gets them.

    What is taken is closed in every program that this one starts.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # noqa: PERF203 - three at most
            os.open(os.devnull, os.O_RDWR)


def _text(raw: io.RawIOBase, before: TextIO | None, *, line_buffering: bool = False) -> TextIO:
    encoding = "utf-8" if before is None else before.encoding
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=ESCAPED, line_buffering=line_buffering or raw.isatty()
    )


class _Standard(io.RawIOBase):
    """One of the process's standard files, which is left open."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: ReadableBuffer, /) -> int:
        while True:
            try:
                return os.write(self._number, data)
            except BlockingIOError:  # noqa: PERF203 - another process has made it so
                select.select((), (self._number,), ())


class _StandardOutput(_Standard):
    _failed = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self._failed:  # what Python still has to write at its end
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            if error.errno == errno.EPIPE:
                raise ReaderGoneError("") from error
            reason = "it is closed" if error.errno == errno.EBADF else (error.strerror or str(error)).lower()
            raise TbperfError(f"standard output: {reason}") from error


class _StandardError(_Standard):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes
