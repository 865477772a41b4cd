"""What can be read only once, from its beginning: standard input, pipes, what a shell makes of ``<(command)``."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import re
import stat
import sys
from typing import IO, TYPE_CHECKING, cast

from tbperf.errors import TraceFormatError
from tbperf.readers.files import BLOCK_BYTES, Source, file_source, open_regular, spooled, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STANDARD_INPUT = "-"

_SNIFF_BYTES = 1 << 16
_DESCRIPTOR = re.compile(r"/dev/(?:stdin|fd/\d+)|/proc/[\w/]+/fd/\d+")
"""Names of what this process has open: another process, asked to read a part of it, has something else there."""


@contextlib.contextmanager
def path_or_stream(path: Path, worth_reading: Callable[[bytes], bool]) -> Iterator[Source]:
    """Lend a file as it is, and what comes through a pipe as a temporary file.

    Of a stream that does not begin like anything that is worth to be read, no more than its beginning is.
    """
    if not _is_stream(path):
        yield file_source(path)
        return
    name = "standard input" if str(path) == STANDARD_INPUT else str(path)
    with contextlib.ExitStack() as stack:
        stream = _opened(path, name, stack)
        blocks = _blocks(stream, name)
        head = next(blocks, b"")
        begin = Source(name, functools.partial(_in_memory, head), passing=True)
        if not worth_reading(begin.first_bytes()):
            yield begin
            return
        spool = stack.enter_context(spooled(name, itertools.chain([head], blocks)))
        yield Source(name, functools.partial(open_regular, spool), spool, passing=True)


def _is_stream(path: Path) -> bool:
    if str(path) == STANDARD_INPUT or _DESCRIPTOR.fullmatch(str(path)):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _opened(path: Path, name: str, stack: contextlib.ExitStack) -> IO[bytes]:
    try:
        if str(path) != STANDARD_INPUT:
            return stack.enter_context(path.open("rb"))
        return cast("IO[bytes]", sys.stdin.buffer)
    except AttributeError as error:  # closed before this process began
        raise TraceFormatError(
            f"{name}: it is closed", "redirect a trace into it: `tbperf analyze - < FILE`"
        ) from error
    except OSError as error:
        raise unreadable(name, error, path) from error


def _blocks(stream: IO[bytes], name: str) -> Iterator[bytes]:
    try:
        yield stream.read(_SNIFF_BYTES) or b""
        while block := stream.read(BLOCK_BYTES):
            yield block
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error


def _in_memory(head: bytes) -> IO[bytes]:
    return io.BytesIO(head)
