"""SQLite exports of Nsight Systems: listed columns of listed tables, written into a new file."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

from tbperf.errors import TraceFormatError, UsageError
from tbperf.readers.nsys import processes_worth_a_report
from tbperf.readers.nsys.store import PROCESS_SHIFT, SqliteStore, process_column
from tbperf.scrub.allowed import EXPORT_METADATA, TABLES, Table
from tbperf.scrub.packing import is_packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tbperf.readers import Source
    from tbperf.scrub.values import Copy

_STRINGS = "StringIds"
_METADATA = ("META_DATA_EXPORT", "EXPORT_META_DATA")
_VERSIONED = re.compile(r"(?P<name>.+?)(?:_V\d{1,3})?")
_TYPES = ("INTEGER", "INT", "REAL", "TEXT")
_ENCODINGS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}


def copy_database(source: Source, target: Path, copy: Copy) -> None:
    """Write what stays of an export.  Nothing else ever gets into the new file, not even into a page that is free."""
    if is_packed(target):
        raise UsageError(f"{target}: a database is written as it is", f"name the copy {target.with_suffix('').name}")
    with source.on_disk() as path, contextlib.closing(SqliteStore(path, source.name)) as store:
        own = processes_worth_a_report(store)
        tables = {name: store.stored_as(name) for name in store.columns}
        kept = {name: stored for name, stored in tables.items() if _is_listed(name, stored)}
        copy.removed.entries["tables"] += len(tables) - len(kept)
        try:
            with contextlib.closing(sqlite3.connect(f"file:{quote(str(target.absolute()))}", uri=True)) as database:
                _Export(database, store.address, own, copy).write(kept)
        except sqlite3.Error as error:
            raise TraceFormatError(
                f"{source.name}: the database cannot be read: {error}", "export the report again, and scrub that"
            ) from error


def _is_listed(name: str, stored: str) -> bool:
    versioned = _VERSIONED.fullmatch(stored)
    return name in TABLES and versioned is not None and versioned["name"] == name


class _Export:
    """Copies table by table from one database into another."""

    def __init__(self, database: sqlite3.Connection, source: str, own: list[int], copy: Copy) -> None:
        self._database = database
        self._own = own
        self._removed = copy.removed
        database.execute("PRAGMA trusted_schema=OFF")
        database.execute("PRAGMA journal_mode=OFF")
        encoding = _encoding(source)
        database.execute(f"PRAGMA encoding='{encoding}'")  # one of _ENCODINGS: attached databases must agree
        database.execute("ATTACH ? AS source", [source])
        database.create_function("named", 2, _writer(copy, _ENCODINGS[encoding]), deterministic=True)
        database.execute("CREATE TEMP TABLE used (id INTEGER, kind TEXT, PRIMARY KEY (id, kind)) WITHOUT ROWID")

    def write(self, tables: dict[str, str]) -> None:
        """Copy these tables, given by their names without and with a version; registered strings last."""
        for name, stored in tables.items():
            if name != _STRINGS:
                self._copy(name, stored)
        if _STRINGS in tables:
            self._copy_strings(tables[_STRINGS])
        self._database.commit()

    def _copy(self, name: str, stored: str) -> None:
        table, source = TABLES[name], f"source.{_quoted(stored)}"
        columns = self._columns(stored)
        listed = {column: value for column, value in _values(table).items() if column in columns}
        self._removed.entries["columns"] += len(columns) - len(listed)
        if not listed:
            return
        self._create(stored, {column: columns[column] for column in listed})
        where = self._where(name, columns)
        chosen = f"SELECT {', '.join(listed.values())} FROM {source} WHERE {where} ORDER BY rowid"  # noqa: S608 - listed
        self._database.execute(f"INSERT INTO main.{_quoted(stored)} {chosen}")
        for column, kind in table.strings.items():
            if column in columns:
                used = f"SELECT {column}, '{kind}' FROM main.{_quoted(stored)} WHERE {column} IS NOT NULL"  # noqa: S608
                self._database.execute(f"INSERT OR IGNORE INTO temp.used {used}")
        before, after = (self._count(of) for of in (source, f"main.{_quoted(stored)}"))
        self._removed.entries["rows of metadata" if name in _METADATA else "rows of other processes"] += before - after

    def _copy_strings(self, stored: str) -> None:
        """Copy the registered strings that are used, written as what they are used for."""
        columns = self._columns(stored)
        if not {"id", "value"} <= columns.keys():
            return
        self._create(stored, {"id": "INTEGER", "value": "TEXT"})
        ordered = "SELECT id, kind FROM temp.used ORDER BY id, kind"
        kinds = f"SELECT id, group_concat(kind, '|') AS kinds FROM ({ordered}) GROUP BY id"  # noqa: S608 - nothing of a file
        source = f"source.{_quoted(stored)}"
        chosen = (
            f"SELECT id, named(kinds, CAST(CAST(value AS TEXT) AS BLOB)) FROM {source} JOIN ({kinds}) USING (id)"  # noqa: S608
            f" WHERE typeof(id) = 'integer' AND value IS NOT NULL ORDER BY {source}.rowid"
        )
        self._database.execute(f"INSERT OR IGNORE INTO main.{_quoted(stored)} {chosen}")
        before, after = (self._count(of) for of in (source, f"main.{_quoted(stored)}"))
        self._removed.entries["registered strings that nothing listed refers to"] += before - after

    def _columns(self, stored: str) -> dict[str, str]:
        """Return the declared type of each column of a table."""
        info = self._database.execute(f"PRAGMA source.table_info({_quoted(stored)})")
        return {column: kind.upper() if kind.upper() in _TYPES else "" for _, column, kind, *_ in info}

    def _create(self, stored: str, columns: dict[str, str]) -> None:
        key = " PRIMARY KEY" if _VERSIONED.fullmatch(stored)["name"] == _STRINGS else ""  # type: ignore[index]
        parts = [f"{_quoted(column)} {kind}{key if column == 'id' else ''}" for column, kind in columns.items()]
        self._database.execute(f"CREATE TABLE main.{_quoted(stored)} ({', '.join(parts)})")

    def _count(self, table: str) -> int:
        (found,) = self._database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - listed
        return int(found)

    def _where(self, name: str, columns: dict[str, str]) -> str:
        """Select the rows of the program's own processes; those of no process are nobody's secret."""
        if name in _METADATA:
            return f"name IN ({', '.join(map(repr, EXPORT_METADATA))})"
        column = process_column(columns)
        if column is None:
            return "1"
        numbers = ", ".join(map(str, self._own))
        return f"{column} IS NULL OR {column} <= 0 OR {column} >> {PROCESS_SHIFT} IN ({numbers})"


def _values(table: Table) -> dict[str, str]:
    """Return what is selected for each listed column: numbers, and texts as they may be written."""
    number = "CASE WHEN typeof({0}) IN ('integer', 'real') THEN {0} END"
    text = "CASE WHEN {0} IS NOT NULL THEN named('{1}', CAST(CAST({0} AS TEXT) AS BLOB)) END"
    return {
        **{name: number.format(_quoted(name)) for name in (*table.numbers.split(), *table.strings)},
        **{name: text.format(_quoted(name), kind) for name, kind in table.texts.items()},
    }


def _writer(copy: Copy, encoding: str) -> Callable[[str, bytes], str]:
    return lambda kinds, text: copy.names.written(kinds, text.decode(encoding, "replace"))


def _encoding(source: str) -> str:
    with contextlib.closing(sqlite3.connect(source, uri=True)) as database:
        (found,) = database.execute("PRAGMA encoding").fetchone()
    return found if found in _ENCODINGS else "UTF-8"


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
