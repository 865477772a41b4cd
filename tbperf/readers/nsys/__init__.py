"""Recordings of Nsight Systems, 2020 to 2026: exports as SQLite, Parquet or Arrow; reports where nsys is at hand."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from typing import TYPE_CHECKING

from tbperf.errors import TraceFormatError
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

__all__ = ["NsysReader", "find_recordings", "is_folder_of_tables", "processes_worth_a_report", "some_table"]

_LOOK_ALIKES = {
    "nvprof": ("StringTable", "CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL", "CUPTI_ACTIVITY_KIND_MARKER"),
    "DLProf": ("view_op_nodes", "view_system_config", "view_performance_summary", "view_iterations_profiled"),
}
"""Tables and views that only databases of other tools have."""

_OWN = {"StringIds", "ANALYSIS_DETAILS", "META_DATA_EXPORT", "EXPORT_META_DATA", "TARGET_INFO_SESSION_START_TIME"}
_TABLES = _OWN | set(OF_INTEREST) | set(OF_LESS_INTEREST)
_EXPORT_AGAIN = "export it with `nsys export --type sqlite --lazy=false REPORT.nsys-rep`"


_STATS = re.compile(rb"Time ?\(%\)[,\s]+Total Time \(ns\)|Total \(MB\)[,\s]+Count")
_TABLE_MAGIC = (PARQUET_MAGIC, ARROW_FILE_MAGIC, ARROW_STREAM_MAGIC)


def find_recordings(folder: Path) -> list[Path]:
    """Return what nsys left in a folder and below it: exports, and reports that were not exported beside them."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            found += [path] if is_folder_of_tables(path) else []
        elif path.suffix == ".sqlite":
            with path.open("rb") as file:
                found += [path] if file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC and _is_own(path) else []
        elif path.suffix in convert.SUFFIXES and not _has_better(path):
            found.append(path)
    return found


def _is_own(path: Path) -> bool:
    try:
        with contextlib.closing(SqliteStore(path)) as store:
            return bool(store.columns.keys() & _TABLES)
    except TraceFormatError:
        return path.stem.startswith("report")  # a broken one is told, if nsys named it


def _has_better(path: Path) -> bool:
    """Tell whether a report was exported beside itself, or a raw stream imported."""
    better = (".sqlite", ".nsys-rep", ".qdrep") if path.suffix == ".qdstrm" else (".sqlite",)
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
        with contextlib.closing(_open(source)) as store:
            processes = processes_worth_a_report(store)
        if len(processes) <= 1:
            yield dataclasses.replace(source, process=processes[0] if processes else None)
            return
        for process in processes:
            yield dataclasses.replace(source, name=f"{source.name}/process {process & PID_MASK}", process=process)

    def read(self, source: Source, *, jobs: int, progress: Callable[[int, int], None]) -> Trace:  # noqa: ARG002 - one reads
        """Read one process."""
        path = _path(source)
        size = sum(part.stat().st_size for part in (path.iterdir() if path.is_dir() else [path]))
        rows = 0

        def told(more: int) -> None:
            nonlocal rows
            rows += more
            progress(0, rows)

        with contextlib.closing(_open(source)) as store:
            if source.process is None:
                found = processes_worth_a_report(store)
                source = dataclasses.replace(source, process=found[0] if len(found) == 1 else None)
            trace = build(source, size, store, told)
        progress(size, rows)
        return trace


def _path(source: Source) -> Path:
    if source.path is None:
        raise TraceFormatError(f"{source.name}: a database in an archive", "unpack the archive and analyze the folder")
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
        store = SqliteStore(convert.exported(path) if convert.is_report(head) else path)
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


def processes_worth_a_report(store: Store) -> list[int]:
    """Return the processes that did something on a device, called its runtime, or opened ranges; else any others."""
    for tables in (OF_INTEREST, OF_LESS_INTEREST):
        if found := {process for table in tables for process in store.processes(table)}:
            return sorted(found)
    return []
