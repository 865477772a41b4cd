"""Exports of Nsight Systems, of 2020 to 2026: an SQLite file, or a folder with a Parquet or Arrow file a table."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from tbperf.errors import TraceFormatError
from tbperf.readers.nsys.build import OF_INTEREST, OF_LESS_INTEREST, build
from tbperf.readers.nsys.store import PID_MASK, SQLITE_MAGIC, SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tbperf.readers.files import Source
    from tbperf.readers.nsys.store import Store
    from tbperf.trace import Trace

__all__ = ["NsysReader"]

_LOOK_ALIKES = {
    "nvprof": ("CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL", "CUPTI_ACTIVITY_KIND_MARKER"),
    "DLProf": ("dlprof", "dlprof_config", "group_node_metrics", "model_nodes", "op_metrics"),
}
"""Tables that only databases of other tools have."""

_OWN = {"StringIds", "ANALYSIS_DETAILS", "META_DATA_EXPORT", "EXPORT_META_DATA", "TARGET_INFO_SESSION_START_TIME"}
_EXPORT_AGAIN = "export it with `nsys export --type sqlite --lazy=false REPORT.nsys-rep`"


class NsysReader:
    """Reads exports, one trace a process."""

    name = "nsys"
    title = "an Nsight Systems export (SQLite, or a folder of Parquet or Arrow tables)"

    def recognizes(self, head: bytes) -> bool:
        """Decide by the first bytes of the contents."""
        return head.startswith(SQLITE_MAGIC)

    def traces(self, source: Source) -> Iterator[Source]:
        """Yield a source for each process of an export that is worth a report."""
        with contextlib.closing(_open(source)) as store:
            processes = _worth_a_report(store)
        if len(processes) <= 1:
            yield dataclasses.replace(source, process=processes[0] if processes else None)
            return
        for process in processes:
            yield dataclasses.replace(source, name=f"{source.name}/process {process & PID_MASK}", process=process)

    def read(self, source: Source, *, jobs: int, progress: Callable[[int, int], None]) -> Trace:  # noqa: ARG002 - one reads
        """Read one process."""
        path = _path(source)
        size = path.stat().st_size
        rows = 0

        def told(more: int) -> None:
            nonlocal rows
            rows += more
            progress(0, rows)

        with contextlib.closing(_open(source)) as store:
            if source.process is None:
                found = _worth_a_report(store)
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
    store: Store = SqliteStore(_path(source))
    tables = store.columns.keys()
    for tool, marks in _LOOK_ALIKES.items():
        if tables & set(marks):
            raise TraceFormatError(
                f"{source.name}: a database of {tool}, not of Nsight Systems",
                "record with `nsys profile -t cuda,nvtx,osrt …` and " + _EXPORT_AGAIN,
            )
    if not tables & (_OWN | set(OF_INTEREST) | set(OF_LESS_INTEREST)):
        raise TraceFormatError(
            f"{source.name}: an SQLite database, but none of Nsight Systems: it has none of its tables", _EXPORT_AGAIN
        )
    return store


def _worth_a_report(store: Store) -> list[int]:
    """Return the processes that did something on a device, called its runtime, or opened ranges; else any others."""
    for tables in (OF_INTEREST, OF_LESS_INTEREST):
        if found := {process for table in tables for process in store.processes(table)}:
            return sorted(found)
    return []
