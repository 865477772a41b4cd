"""The tables of an Nsight Systems export as columns, wherever they lie: in an SQLite file, or a file each.

Tables exist only where they have rows, and versions differ in columns: both are asked for by name, and what is not
there reads as `NONE`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import msgspec
import numpy as np

from tbperf.errors import TbperfError, TraceFormatError
from tbperf.readers.files import open_regular
from tbperf.trace import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tbperf.intervals import Ns

PROCESS_SHIFT = 24
"""A global id of a thread is machine, process and thread; shifted by this, machine and process are left."""

PID_MASK = 0xFFFFFF

_VERSION = re.compile(r"_V\d+$")
"""Newer exports give some tables a version: NVTX_EVENTS_V2."""


@dataclass(frozen=True)
class Selection:
    """Rows of a table: all of them, or those of one process."""

    table: str
    process: int | None = None
    """A global id without its thread: `PROCESS_SHIFT` bits shifted away."""


class Store(Protocol):
    """An open export."""

    columns: Mapping[str, tuple[str, ...]]
    """Columns of each table."""
    objects: Collection[str]
    """Names of all tables and views, as they are stored."""

    def close(self) -> None:
        """Let go of it."""
        ...

    def integers(self, rows: Selection, columns: Sequence[str], told: Callable[[int], None]) -> dict[str, Ns]:
        """Return columns of integers; `NONE` for what is null or not there.  ``told`` hears how many rows were read."""
        ...

    def reals(self, rows: Selection, column: str) -> npt.NDArray[np.float64]:
        """Return a column of numbers; not-a-number for what is null."""
        ...

    def texts(self, rows: Selection, column: str) -> Iterator[bytes | None]:
        """Yield a column of texts, in the order of `integers`."""
        ...

    def processes(self, table: str) -> Counter[int]:
        """Return the processes that have rows in a table, as `Selection` names them, and how many."""
        ...

    def strings(self, ids: Ns) -> dict[int, bytes]:
        """Return the registered strings of these ids."""
        ...


def process_column(columns: Collection[str]) -> str | None:
    """Return the column that tells the process of a row."""
    return next((name for name in ("globalPid", "globalTid") if name in columns), None)


def latest_versions(names: Collection[str]) -> dict[str, str]:
    """Map names of tables without their version to the tables of the latest one."""
    return {_VERSION.sub("", name): name for name in sorted(names, key=lambda name: (len(name), name))}


_CHUNK_ROWS = 1 << 16
_ERRORS = (
    *(sqlite3.Error, sqlite3.Warning, msgspec.MsgspecError),
    *(ValueError, TypeError, OverflowError, MemoryError),
)
_MOST_PARAMETERS = 10_000
SQLITE_MAGIC = b"SQLite format 3\0"


class SqliteStore:
    """An export as one SQLite file, which is never written to: not even a lock or a journal is left beside it."""

    def __init__(self, path: Path, name: str = "") -> None:
        self._name = name or str(path)
        self._copies = contextlib.ExitStack()
        try:
            self._database = self._opened(path)
        except BaseException:
            self._copies.close()
            raise
        self._database.text_factory = bytes
        self._asked(self._look)

    def _opened(self, path: Path) -> sqlite3.Connection:
        pending = [suffix for suffix, magics in _PENDING.items() if _begins_with(Path(str(path) + suffix), magics)]
        if not pending:
            _check_size(path, self._name)
            return self._connected(path, "mode=ro&immutable=1")
        # The database alone would show what never was, or is no longer, and SQLite puts that right by writing to it.
        folder = self._copies.enter_context(tempfile.TemporaryDirectory(prefix="tbperf-"))
        copy = Path(folder, "copy.sqlite")
        try:
            for suffix in ("", *pending):
                shutil.copyfile(str(path) + suffix, str(copy) + suffix)
        except OSError as error:
            raise TbperfError(
                f"{self._name}: with the log beside it, it must be copied to be read, and cannot be:"
                f" {(error.strerror or str(error)).lower()}",
                "set TMPDIR to a folder with room for it",
            ) from error
        return self._connected(copy, "mode=rw")

    def _connected(self, path: Path, options: str) -> sqlite3.Connection:
        self.address = f"file:{quote(os.fsencode(path.absolute()))}?{options}"
        """For SQLite: where the database lies, and how it is opened."""
        database: sqlite3.Connection = self._asked(lambda: sqlite3.connect(self.address, uri=True))
        return database

    def _look(self) -> None:
        self._database.execute("PRAGMA trusted_schema=OFF")
        self._database.execute("PRAGMA cell_size_check=ON")
        kinds = {
            name.decode("utf-8", "replace"): kind
            for name, kind in self._database.execute(
                "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')"
            )
        }
        self.objects: Collection[str] = kinds.keys()
        names = [name for name, kind in kinds.items() if kind == b"table" and not name.startswith("sqlite_")]
        self._tables = latest_versions(names)
        self.columns: Mapping[str, tuple[str, ...]] = {
            table: tuple(
                column.decode("utf-8", "replace")
                for _, column, *_ in self._database.execute(f"PRAGMA table_info({_quoted(name)})")
            )
            for table, name in self._tables.items()
        }

    def close(self) -> None:
        """Let go of it."""
        self._database.close()
        self._copies.close()

    def stored_as(self, table: str) -> str:
        """Return the name of a table with its version."""
        return self._tables[table]

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (
            sqlite3.Error,
            sqlite3.Warning,
            msgspec.MsgspecError,
            ValueError,
            TypeError,
            OverflowError,
            MemoryError,
        ) as error:
            raise TraceFormatError(
                f"{self._name}: the database cannot be read: {str(error) or type(error).__name__}",
                "was it cut short, or is it still being written? export the report again",
            ) from error

    def _all(self, query: str, values: Sequence[int]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._asked(lambda: self._database.execute(query, values).fetchall())
        return rows

    def _select(self, rows: Selection, expressions: Sequence[str], more: str = "1") -> str:
        """Return a query that reads a table in the order in which it is stored."""
        where = [more]
        column = process_column(self.columns[rows.table])
        if rows.process is not None and column is not None:
            where.append(f"coalesce({_quoted(column)} >> {PROCESS_SHIFT}, {rows.process:d}) = {rows.process:d}")
        source = _quoted(self._tables[rows.table])
        chosen = f"SELECT {', '.join(expressions)} FROM {source} WHERE {' AND '.join(where)}"  # noqa: S608 - quoted
        return f"{chosen} ORDER BY rowid"

    def integers(self, rows: Selection, columns: Sequence[str], told: Callable[[int], None]) -> dict[str, Ns]:
        """Return columns of integers.

        SQLite writes each column of a piece of the table as JSON, which is read at once: faster than to make Python's
        numbers and tuples of each row.
        """
        there = [name for name in columns if name in self.columns[rows.table]]
        named = [f"coalesce({_quoted(name)}, {NONE}) AS c{index}" for index, name in enumerate(there)]
        piece = self._select(rows, ["rowid AS r", *named], "rowid > ?")
        arrays = "".join(f", json_group_array(c{index})" for index in range(len(there)))
        query = f"SELECT count(*), max(r){arrays} FROM ({piece} LIMIT {_CHUNK_ROWS})"  # noqa: S608 - quoted
        parts: list[list[Ns]] = [[np.empty(0, np.int64)] for _ in there]
        last, length = -(1 << 63), 0
        while True:
            ((count, reached, *texts),) = self._all(query, [last])
            for part, text in zip(parts, texts, strict=True):
                part.append(self._asked(functools.partial(_from_json, text)))
            told(count)
            length += count
            if count < _CHUNK_ROWS:
                break
            last = reached
        found = {name: np.concatenate(part) for name, part in zip(there, parts, strict=True)}
        return {name: found.get(name, np.full(length, NONE, np.int64)) for name in columns}

    def reals(self, rows: Selection, column: str) -> npt.NDArray[np.float64]:
        """Return a column of numbers."""
        query = self._select(rows, [f"CAST({_quoted(column)} AS REAL)"])
        cursor = self._asked(lambda: self._database.execute(query))
        nan = float("nan")
        found: npt.NDArray[np.float64] = self._asked(
            lambda: np.fromiter((nan if value is None else value for (value,) in cursor), np.float64)
        )
        return found

    def texts(self, rows: Selection, column: str) -> Iterator[bytes | None]:
        """Yield a column of texts."""
        query = self._select(rows, [_quoted(column)])
        cursor = self._asked(lambda: self._database.execute(query))
        while chunk := self._asked(lambda: cursor.fetchmany(_CHUNK_ROWS)):
            for (value,) in chunk:
                yield value if isinstance(value, bytes) else None if value is None else str(value).encode()

    def processes(self, table: str) -> Counter[int]:
        """Return the processes that have rows in a table, and how many."""
        column = process_column(self.columns.get(table, ()))
        if column is None:
            return Counter()
        source, name = _quoted(self._tables[table]), _quoted(column)
        query = (
            f"SELECT {name} >> {PROCESS_SHIFT} AS process, count(*) FROM {source}"  # noqa: S608 - quoted
            f" WHERE {name} IS NOT NULL GROUP BY process"
        )
        return Counter({process: rows for process, rows in self._all(query, ()) if isinstance(process, int)})

    def strings(self, ids: Ns) -> dict[int, bytes]:
        """Return the registered strings of these ids."""
        found: dict[int, bytes] = {}
        if not {"id", "value"} <= set(self.columns.get("StringIds", ())):
            return found
        source = _quoted(self._tables["StringIds"])
        wanted = [int(number) for number in ids if number != NONE]
        for begin in range(0, len(wanted), _MOST_PARAMETERS):
            part = wanted[begin : begin + _MOST_PARAMETERS]
            marks = ",".join("?" * len(part))
            query = f"SELECT id, value FROM {source} WHERE id IN ({marks})"  # noqa: S608 - quoted
            found |= {number: value for number, value in self._all(query, part) if isinstance(value, bytes)}
        return found


def _from_json(text: bytes) -> Ns:
    return np.array(msgspec.json.decode(text, type=list[int]), np.int64)


def _check_size(path: Path, name: str) -> None:
    """Refuse a file that is shorter than its header says: what is missing would read as zeros."""
    with open_regular(path) as file:
        head = file.read(_HEADER_BYTES)
        size = file.seek(0, os.SEEK_END)
    page = int.from_bytes(head[16:18], "big")
    page = 1 << 16 if page == 1 else page
    is_current = head[24:28] == head[92:96]  # else the number of pages was not kept up to date
    expected = page * int.from_bytes(head[28:32], "big") if is_current else 0
    if len(head) < _HEADER_BYTES or size < expected:
        raise TraceFormatError(
            f"{name}: the database is cut short: {size:,} of {max(expected, _HEADER_BYTES):,} bytes are there",
            "was it copied whole? copy or export it again",
        )


_HEADER_BYTES = 100

_PENDING = {
    "-wal": (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"),
    "-journal": (b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",),
}
"""Changes that are not in the database itself yet, or not taken back: the file beside it, and how it begins."""


def _begins_with(path: Path, magics: tuple[bytes, ...]) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(_LONGEST_MAGIC).startswith(magics)
    except OSError:
        return False


_LONGEST_MAGIC = 8


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
