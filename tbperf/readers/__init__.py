"""Turn files into traces.  The only package that knows file formats."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from tbperf.errors import TraceFormatError
from tbperf.readers.files import Source, archive_members, file_source, is_archive
from tbperf.readers.kineto import KinetoReader
from tbperf.readers.nsys import NsysReader, find_recordings, is_folder_of_tables, some_table

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

_SUFFIXES = (".pt.trace.json", ".pt.trace.json.gz")
_JSON_SUFFIXES = (".json", ".json.gz")
_MARK = b'"traceEvents"'
_EXPORTS = "plugins"
"""The folder of what is there for TensorBoard's dashboards: copies of traces."""


def find_traces(path: Path) -> Iterator[Source]:
    """Yield the traces that a path stands for: itself, those in an archive, those in a folder and below it.

    In a folder without files named as torch's profiler names them, JSON files with trace events in them count.
    Traces of an archive must be read in the order in which they come.
    """
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, no error where a folder above may not be read
        for file in [path] if is_folder_of_tables(path) else _files_with_traces(path):
            yield from _traces_in(path_source(file))
        return
    source = file_source(path)
    if not is_archive(source.first_bytes()):
        yield from _traces_in(source)
        return
    found = False
    for member in archive_members(source, lambda name: name.endswith(_JSON_SUFFIXES)):
        found = True
        yield member
    if not found:
        raise TraceFormatError(f"{path}: no traces in this archive", "it should hold *.pt.trace.json files")


def path_source(path: Path) -> Source:
    """Return a file as a source, or a folder that is one recording, told by one of its files."""
    if not is_folder_of_tables(path):
        return file_source(path)
    return Source(str(path), file_source(some_table(path)).open, path)


def _traces_in(source: Source) -> Iterator[Source]:
    """Yield the traces of one file; a file that nobody knows is left to `read_trace` to refuse."""
    head = source.first_bytes()
    reader = next((reader for reader in READERS if reader.recognizes(head)), None)
    if reader is None:
        yield source
    else:
        yield from reader.traces(source)


def _files_with_traces(folder: Path) -> list[Path]:
    try:
        next(folder.iterdir(), None)  # rglob passes over folders that it may not read
        recordings = find_recordings(folder)
        files = sorted(file for file in folder.rglob("*") if file.name.endswith(_JSON_SUFFIXES) and file.is_file())
        files = [file for file in files if _EXPORTS not in file.relative_to(folder).parts]
    except OSError as error:
        raise TraceFormatError(
            f"{folder}: {(error.strerror or str(error)).lower()}", "make it readable for this user"
        ) from error
    named = [file for file in files if file.name.endswith(_SUFFIXES)]
    found = named or [file for file in files if _MARK in file_source(file).first_bytes()]
    found += recordings
    if not found:
        raise TraceFormatError(
            f"{folder}: no traces in this folder",
            "`tbperf record -- yolo train …` records some; torch.profiler names its own *.pt.trace.json",
        )
    return found


def read_trace(
    source: Source, *, jobs: int = 0, progress: Callable[[int, int], None] = lambda _bytes, _events: None
) -> Trace:
    """Read one trace, whatever its format and its name.

    Uses so many processes (0: one a core, where the file is large enough to gain by it); ``progress`` is told the
    stored bytes and the events read so far.
    """
    head = source.first_bytes()
    if not head:
        raise TraceFormatError(f"{source.name}: the file is empty", "was the recording interrupted?")
    for reader in READERS:
        if reader.recognizes(head):
            return reader.read(source, jobs=jobs, progress=progress).on_the_busiest_devices()
    titles = " or ".join(reader.title for reader in READERS)
    raise TraceFormatError(f"{source.name}: not a trace that tbperf can read", f"it reads {titles}")
