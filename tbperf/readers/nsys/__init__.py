"""Recordings of Nsight Systems, 2020 to 2026: exports as SQLite, Parquet or Arrow; reports where nsys is at hand."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections import Counter
from typing import TYPE_CHECKING

from tbperf.errors import TraceFormatError
from tbperf.readers.files import file_source, open_regular
from tbperf.readers.nsys import convert
from tbperf.readers.nsys.arrow import (
    ARROW_FILE_MAGIC,
    ARROW_STREAM_MAGIC,
    PARQUET_MAGIC,
    ArrowStore,
    is_folder_of_tables,
    some_table,
)
from tbperf.readers.nsys.build import OF_INTEREST, OF_LESS_INTEREST, build
from tbperf.readers.nsys.store import PID_MASK, SQLITE_MAGIC, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tbperf.readers.files import Source
    from tbperf.readers.nsys.store import Store
    from tbperf.trace import Trace

__all__ = [
    "SQLITE_SUFFIX",
    "NsysReader",
    "is_folder_of_tables",
    "is_recording",
    "processes_worth_a_report",
    "some_table",
]

_LOOK_ALIKES = {
    "nvprof": ("StringTable", "CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL", "CUPTI_ACTIVITY_KIND_MARKER"),
    "DLProf": ("view_op_nodes", "view_system_config", "view_performance_summary", "view_iterations_profiled"),
}
"""Tables and views that only databases of other tools have."""

_OWN = {"StringIds", "ANALYSIS_DETAILS", "META_DATA_EXPORT", "EXPORT_META_DATA", "TARGET_INFO_SESSION_START_TIME"}
_TABLES = _OWN | set(OF_INTEREST) | set(OF_LESS_INTEREST)
_EXPORT_AGAIN = "export it with `nsys export --type sqlite --lazy=false REPORT.nsys-rep`"


_STATS = re.compile(rb"Time ?\(%\)[,\s]+Total Time \(ns\)|Total \(MB\)[,\s]+Count")
SQLITE_SUFFIX = ".sqlite"
_TABLE_MAGIC = (PARQUET_MAGIC, ARROW_FILE_MAGIC, ARROW_STREAM_MAGIC)


def is_recording(path: Path) -> bool:
    """Tell whether a file in a folder is what nsys left: an export, or a report that was not exported beside itself.

    What is named like one and cannot be looked into counts, so that reading it says why.
    """
    if path.suffix == SQLITE_SUFFIX:
        try:
            return file_source(path).first_bytes().startswith(SQLITE_MAGIC) and _is_own(path)
        except TraceFormatError:
            return True
    return path.suffix in convert.SUFFIXES and not _has_better(path)


def _is_own(path: Path) -> bool:
    try:
        with contextlib.closing(SqliteStore(path)) as store:
            return bool(store.columns.keys() & _TABLES)
    except TraceFormatError:
        return path.stem.startswith("report")  # a broken one is told, if nsys named it


def _has_better(path: Path) -> bool:
    """Tell whether a report was exported beside itself, or a raw stream imported."""
    better = (SQLITE_SUFFIX, ".nsys-rep", ".qdrep") if path.suffix == ".qdstrm" else (SQLITE_SUFFIX,)
    return any(path.with_suffix(suffix).exists() for suffix in better)


class NsysReader:
    """Reads exports, one trace a process."""

    name = "nsys"
    title = "an Nsight Systems export (SQLite, or a folder of Parquet or Arrow tables) or report (.nsys-rep)"

    def recognizes(self, head: bytes) -> bool:
        """Decide by the first bytes of the contents."""
        known = head.startswith((SQLITE_MAGIC, *_TABLE_MAGIC)) or convert.is_report(head)
        return known or bool(_STATS.search(head))

    def traces(self, source: Source) -> Iterator[Source]:
        """Yield a source for each process of an export that is worth a report."""
        with _on_disk(source) as lent:
            with contextlib.closing(_open(lent)) as store:
                processes = processes_worth_a_report(store)
                more = len(_processes(store)) - len(processes)
            notes = (f"processes of this recording that did less and are left out: {more:,}",) if more else ()
            if len(processes) <= 1:
                yield dataclasses.replace(lent, process=processes[0] if processes else None)
                return
            for process in processes:
                name = f"{source.name}/process {process & PID_MASK}"
                yield dataclasses.replace(lent, name=name, process=process, notes=notes)

    def read(self, source: Source, *, jobs: int, progress: Callable[[int, int], None]) -> Trace:  # noqa: ARG002 - one reads
        """Read one process."""
        rows = 0

        def told(more: int) -> None:
            nonlocal rows
            rows += more
            progress(0, rows)

        with _on_disk(source) as lent, contextlib.closing(_open(lent)) as store:
            path = _path(lent)
            size = sum(part.stat().st_size for part in (path.iterdir() if path.is_dir() else [path]))
            process = lent.process
            if process is None and len(found := processes_worth_a_report(store)) == 1:
                process = found[0]
            trace = build(dataclasses.replace(lent, process=process), size, store, told)
        progress(size, rows)
        return trace


@contextlib.contextmanager
def _on_disk(source: Source) -> Iterator[Source]:
    """Lend a recording as a file of its own, which only databases and tables need to be."""
    with source.on_disk() as path:
        if path == source.path:
            yield source
        else:
            yield dataclasses.replace(source, path=path, open=functools.partial(open_regular, path), passing=True)


def _path(source: Source) -> Path:
    if source.path is None:
        raise AssertionError("a recording that was not lent as a file")
    return source.path


def _open(source: Source) -> Store:
    """Open an export; refuse what is none."""
    path = _path(source)
    head = source.first_bytes()
    store: Store
    if path.is_dir() or head.startswith(ARROW_STREAM_MAGIC):
        store = ArrowStore(path)
    elif head.startswith(_TABLE_MAGIC):
        raise TraceFormatError(f"{source.name}: one table of an export", "name the folder with all its tables")
    elif _STATS.search(head):
        raise TraceFormatError(
            f"{source.name}: sums that `nsys stats` printed, without the times that a report is made of",
            "nsys stats leaves a .sqlite file beside the recording: analyze that",
        )
    else:
        store = SqliteStore(_exported(source, path) if convert.is_report(head) else path, source.name)
    tables = store.columns.keys()
    for tool, marks in _LOOK_ALIKES.items():
        if set(store.objects) & set(marks):
            raise TraceFormatError(
                f"{source.name}: a database of {tool}, not of Nsight Systems",
                "record with `nsys profile -t cuda,nvtx,osrt …` and " + _EXPORT_AGAIN,
            )
    if not tables & _TABLES:
        raise TraceFormatError(
            f"{source.name}: a database, but none of Nsight Systems: it has none of its tables", _EXPORT_AGAIN
        )
    return store


def _exported(source: Source, path: Path) -> Path:
    if source.passing:
        raise TraceFormatError(
            f"{source.name}: a report of Nsight Systems, which must be a file of its own to be exported", _EXPORT_AGAIN
        )
    return convert.exported(path)


MOST_PROCESSES = 256
"""Reports on more processes of one recording nobody reads, and each goes through all tables."""


def processes_worth_a_report(store: Store) -> list[int]:
    """Return the processes that did something on a device, called its runtime, or opened ranges; else any others.

    Of very many, those that did most.
    """
    return sorted(process for process, _ in _processes(store).most_common(MOST_PROCESSES))


def _processes(store: Store) -> Counter[int]:
    for tables in (OF_INTEREST, OF_LESS_INTEREST):
        if found := sum((store.processes(table) for table in tables), Counter[int]()):
            return found
    return Counter()
