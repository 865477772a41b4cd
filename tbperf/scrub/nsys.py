"""SQLite exports of Nsight Systems, table by table into a new file."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

from tbperf.errors import TraceFormatError
from tbperf.readers.nsys import processes_worth_a_report
from tbperf.readers.nsys.store import PROCESS_SHIFT, SqliteStore, process_column

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tbperf.scrub.texts import Removed

_KEPT = re.compile(
    r"CUPTI_ACTIVITY_KIND_(?:KERNEL|MEMCPY|MEMSET|SYNCHRONIZATION|RUNTIME|DRIVER|GRAPH_TRACE|CUDA_EVENT|OVERHEAD)"
    r"|CUDA_GPU_MEMORY_USAGE_EVENTS|CUDA_GRAPH_EVENTS|CUDNN_EVENTS|CUBLAS_EVENTS|MPI_\w+_EVENTS|NVTX_EVENTS|OSRT_API"
    r"|PROFILER_OVERHEAD|DIAGNOSTIC_EVENT|GPU_METRICS|TARGET_INFO_GPU_METRICS|TARGET_INFO_GPU|TARGET_INFO_CUDA_DEVICE"
    r"|TARGET_INFO_CUDA_CONTEXT_INFO|TARGET_INFO_CUDA_STREAM|TARGET_INFO_SESSION_START_TIME|ANALYSIS_DETAILS"
    r"|META_DATA_EXPORT|EXPORT_META_DATA|PROCESSES|ThreadNames|StringIds|ENUM_\w+"
)
"""Tables that are copied, also in later versions (NVTX_EVENTS_V2)."""

_TEXT_KEPT = {
    "NVTX_EVENTS": {"text"},
    "DIAGNOSTIC_EVENT": {"text"},
    "TARGET_INFO_GPU": {"name", "chipName"},
    "TARGET_INFO_GPU_METRICS": {"typeName", "metricName"},
    "TARGET_INFO_SESSION_START_TIME": {"utcTime"},
    "META_DATA_EXPORT": {"name", "value"},
    "EXPORT_META_DATA": {"name", "value"},
    "StringIds": {"value"},
    "PROCESSES": {"name"},
}
"""Columns of words that are copied, without paths; of ENUM tables all are."""

_STRINGS = "StringIds"
_METADATA = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_NAMING = ("nameId", "textId", "demangledName", "shortName", "mangledName")
"""Columns that refer to registered strings."""


def copy_database(source: Path, target: Path, removed: Removed) -> None:
    """Copy an export; what of it is not listed above is left out."""
    with contextlib.closing(SqliteStore(source)) as store:
        own = processes_worth_a_report(store)
        tables = {name: store.stored_as(name) for name in store.columns}
    kept = {name: stored for name, stored in tables.items() if _KEPT.fullmatch(name)}
    removed.tables += tables.keys() - kept.keys()
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(target.absolute()))}", uri=True)) as database:
            database.create_function("cut", 1, _cutter(removed), deterministic=True)
            database.execute("ATTACH ? AS source", [f"file:{quote(str(source.absolute()))}?mode=ro&immutable=1"])
            database.execute("PRAGMA trusted_schema=OFF")
            database.execute("CREATE TEMP TABLE used (id INTEGER PRIMARY KEY)")
            for name, stored in sorted(kept.items(), key=lambda item: item[0] == _STRINGS):  # when all uses are known
                _copy_table(database, name, stored, own, removed)
            database.commit()
    except sqlite3.Error as error:
        raise TraceFormatError(
            f"{source}: the database cannot be read: {error}", "export the report again, and scrub that"
        ) from error


Value = str | bytes | int | float | None


def _cutter(removed: Removed) -> Callable[[Value], Value]:
    def cut(value: Value) -> Value:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return removed.cut(value) if isinstance(value, str) else value

    return cut


def _copy_table(database: sqlite3.Connection, name: str, stored: str, own: list[int], removed: Removed) -> None:
    table = _quoted(stored)
    info = list(database.execute(f"PRAGMA source.table_info({table})"))
    kept_text = {column for _, column, *_ in info} if name.startswith("ENUM_") else _TEXT_KEPT.get(name, set())
    values, definitions = [], []
    for _, column, kind, not_null, _, key in info:
        quoted = _quoted(column)
        definitions.append(f"{quoted} {kind if kind.isalpha() else ''}{' PRIMARY KEY' if key else ''}")
        if column in kept_text:
            values.append(f"cut({quoted})")
        elif kind.upper() in ("INTEGER", "REAL", "INT"):  # where someone may have put words all the same
            values.append(f"CASE WHEN typeof({quoted}) IN ('integer', 'real') THEN {quoted} END")
        else:
            if count := _number(database, f"SELECT count({quoted}) FROM source.{table}"):  # noqa: S608 - quoted
                removed.columns[f"{stored}.{column}"] += count
            values.append("''" if not_null else "NULL")
    columns = {column for _, column, *_ in info}
    where = _where(name, columns, own)
    database.execute(f"CREATE TABLE main.{table} ({', '.join(definitions)})")
    chosen = f"SELECT {', '.join(values)} FROM source.{table} WHERE {where} ORDER BY rowid"  # noqa: S608 - quoted
    database.execute(f"INSERT INTO main.{table} {chosen}")
    for column in columns & set(_NAMING):
        quoted = _quoted(column)
        uses = f"SELECT {quoted} FROM main.{table} WHERE typeof({quoted}) = 'integer'"  # noqa: S608 - quoted
        database.execute(f"INSERT OR IGNORE INTO temp.used {uses}")
    _account(database, name, table, removed)


def _account(database: sqlite3.Connection, name: str, table: str, removed: Removed) -> None:
    before, after = (_number(database, f"SELECT count(*) FROM {of}.{table}") for of in ("source", "main"))  # noqa: S608
    if name == _STRINGS:
        removed.strings += before - after
    elif name in _METADATA:
        missing = f"SELECT name FROM source.{table} WHERE name NOT IN (SELECT name FROM main.{table})"  # noqa: S608
        removed.metadata += [str(entry) for (entry,) in database.execute(missing)]
    else:
        removed.foreign_rows += before - after


def _number(database: sqlite3.Connection, query: str) -> int:
    (found,) = database.execute(query).fetchone()
    return int(found)


def _where(name: str, columns: set[str], own: list[int]) -> str:
    """Select what is used, and the rows of the program's own processes; those of no process are nobody's secret."""
    if name == _STRINGS:
        return "id IN (SELECT id FROM temp.used)"
    if name in _METADATA:
        return "name GLOB 'EXPORT_PRODUCT_*' OR name GLOB 'EXPORT_SCHEMA_*'"
    column = process_column(columns)
    if column is None:
        return "1"
    quoted, numbers = _quoted(column), ", ".join(map(str, own))
    return f"{quoted} IS NULL OR {quoted} <= 0 OR {quoted} >> {PROCESS_SHIFT} IN ({numbers})"


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
