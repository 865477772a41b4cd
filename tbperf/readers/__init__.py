"""Turn files into traces.  The only package that knows file formats."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from tbperf.errors import TraceFormatError
from tbperf.readers.archives import archive_members, is_archive
from tbperf.readers.files import Source, file_source, unreadable
from tbperf.readers.folders import is_json_name, path_source, sources_in_folder
from tbperf.readers.foreign import refusal
from tbperf.readers.kineto import KinetoReader
from tbperf.readers.nsys import SQLITE_SUFFIX, NsysReader, is_folder_of_tables
from tbperf.readers.streams import path_or_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tbperf.trace import Trace

__all__ = ["READERS", "Reader", "Source", "file_source", "find_traces", "path_source", "read_trace"]


class Reader(Protocol):
    """One file format."""

    name: str
    title: str

    def recognizes(self, head: bytes) -> bool:
        """Decide by the first bytes of the contents, never by the file's name."""
        ...

    def traces(self, source: Source) -> Iterator[Source]:
        """Yield the traces that a file holds: itself, or one a process."""
        ...

    def read(self, source: Source, *, jobs: int, progress: Callable[[int, int], None]) -> Trace:
        """Read the whole file, in so many processes, or raise TraceFormatError."""
        ...


READERS: tuple[Reader, ...] = (KinetoReader(), NsysReader())


def find_traces(path: Path) -> Iterator[Source]:
    """Yield the traces that a path stands for: itself, those in an archive, those in a folder and below it.

    ``-`` is the standard input; it and named pipes are read to their end first.  A source that is ``passing`` must be
    read before the next one is asked for.
    """
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, no error where a folder above may not be read
        for source in [path_source(path)] if is_folder_of_tables(path) else sources_in_folder(path):
            yield from _traces_in(source)
        return
    with path_or_stream(path, is_recognized) as source:
        if not is_archive(source.first_bytes()):
            yield from _traces_in(source)
            return
        found = False
        for member in archive_members(source, lambda name: is_json_name(name) or name.endswith(SQLITE_SUFFIX)):
            found = True
            yield from _traces_in(member)
        if not found:
            raise TraceFormatError(f"{source.name}: no traces in this archive", "it should hold *.pt.trace.json files")


def _traces_in(source: Source) -> Iterator[Source]:
    """Yield the traces of one file; what cannot be read, or is not known, is left to `read_trace` to refuse."""
    try:
        reader = _reader_of(source.first_bytes())
        found = [source] if reader is None else reader.traces(source)
        yield from found
    except TraceFormatError:
        yield source


def _reader_of(head: bytes) -> Reader | None:
    return next((reader for reader in READERS if reader.recognizes(head)), None)


def is_recognized(head: bytes) -> bool:
    """Tell whether contents that begin like this are worth to be read on."""
    return _reader_of(head) is not None or is_archive(head)


def read_trace(
    source: Source, *, jobs: int = 0, progress: Callable[[int, int], None] = lambda _bytes, _events: None
) -> Trace:
    """Read one trace, whatever its format and its name.

    Uses so many processes (0: one a core, where the file is large enough to gain by it); ``progress`` is told the
    stored bytes and the events read so far.
    """
    head = source.first_bytes()
    reader = _reader_of(head)
    if reader is None:
        raise refusal(source.name, head, " or ".join(reader.title for reader in READERS))
    try:
        return reader.read(source, jobs=jobs, progress=progress).on_the_busiest_devices()
    except OSError as error:
        raise unreadable(source.name, error) from error
