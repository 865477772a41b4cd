"""Exports as Arrow tables: a folder with a Parquet or Arrow file a table, or all tables in one file after another."""

from __future__ import annotations

import functools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tbperf.errors import TraceFormatError
from tbperf.readers.nsys.store import PROCESS_SHIFT, Selection, latest_versions, process_column
from tbperf.trace import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tbperf.intervals import Ns

PARQUET_MAGIC = b"PAR1"
ARROW_FILE_MAGIC = b"ARROW1"
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
SUFFIXES = (".parquet", ".arrow")


def is_folder_of_tables(folder: Path) -> bool:
    """Tell whether a folder is an export: it holds the strings that every export has."""
    # Unlike Path.is_file, no error in a folder that may not be read.
    return any(os.path.isfile(folder / f"StringIds{suffix}") for suffix in SUFFIXES)  # noqa: PTH113


def some_table(folder: Path) -> Path:
    """Return a file of an export in a folder, by which to tell what it is."""
    return next(folder / f"StringIds{suffix}" for suffix in SUFFIXES if (folder / f"StringIds{suffix}").is_file())


class ArrowStore:
    """An export as Arrow tables."""

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra, which only exports of this sort need
        except ImportError as error:
            raise TraceFormatError(
                f"{path}: to read Parquet and Arrow tables needs pyarrow", "pip install 'tbperf[arrow]'"
            ) from error
        self._pa = pa
        self._errors = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError, OverflowError)
        loaders = self._asked(lambda: self._folder(path) if path.is_dir() else self._tables_in(path))
        self.objects: Collection[str] = loaders.keys()
        named = latest_versions(list(loaders))
        self._loaders = {table: loaders[name] for table, name in named.items()}
        self.columns: Mapping[str, tuple[str, ...]] = {
            table: self._asked(functools.partial(_names, load)) for table, load in self._loaders.items()
        }

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self._errors as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise TraceFormatError(f"{self._name}: the tables cannot be read: {reason}", "export it again") from error

    def _folder(self, folder: Path) -> dict[str, Callable[[list[str] | None], Any]]:
        files = [file for file in sorted(folder.iterdir()) if file.suffix in SUFFIXES]
        return {file.stem: functools.partial(self._of_file, file) for file in files}

    def _of_file(self, file: Path, columns: list[str] | None) -> Any:
        """Read columns of a table; none, but its schema, where no columns are given."""
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq  # noqa: PLC0415

            contents = pq.ParquetFile(file)
            return contents.schema_arrow.empty_table() if columns is None else contents.read(columns)
        with self._pa.memory_map(str(file)) as data:
            is_file = data.read(len(ARROW_FILE_MAGIC)) == ARROW_FILE_MAGIC
            data.seek(0)
            table = (self._pa.ipc.open_file if is_file else self._pa.ipc.open_stream)(data).read_all()
        return table.slice(0, 0) if columns is None else table.select(columns)

    def _tables_in(self, file: Path) -> dict[str, Callable[[list[str] | None], Any]]:
        found: dict[str, Callable[[list[str] | None], Any]] = {}
        with self._pa.memory_map(str(file)) as data:
            while data.tell() < data.size():
                table = self._pa.ipc.open_stream(data).read_all()
                name = (table.schema.metadata or {}).get(b"table_name", b"").decode("utf-8", "replace")
                if name and table.num_rows:
                    found[name] = functools.partial(_selected, table)
        return found

    def close(self) -> None:
        """Let go of it."""
        self._loaders = {}

    def _chosen(self, rows: Selection, columns: Sequence[str]) -> tuple[Any, npt.NDArray[np.bool_] | None]:
        """Return columns of a table, and which of its rows are selected; None for all."""
        of = process_column(self.columns[rows.table])
        wanted = list(dict.fromkeys([*columns, *([of] if of is not None else [])]))
        table = self._asked(lambda: self._loaders[rows.table](wanted))
        if rows.process is None or of is None:
            return table, None
        owner = self._integers(table, of)
        return table, (owner == NONE) | (owner >> PROCESS_SHIFT == rows.process)

    def _integers(self, table: Any, column: str) -> Ns:
        def read() -> Ns:
            values = table.column(column).cast(self._pa.int64(), safe=False)
            return cast("Ns", values.fill_null(NONE).combine_chunks().to_numpy(zero_copy_only=False))

        found: Ns = self._asked(read)
        return found

    def integers(self, rows: Selection, columns: Sequence[str], told: Callable[[int], None]) -> dict[str, Ns]:
        """Return columns of integers."""
        there = [name for name in columns if name in self.columns[rows.table]]
        table, keep = self._chosen(rows, there)
        found = {name: self._integers(table, name) for name in there}
        if keep is not None:
            found = {name: values[keep] for name, values in found.items()}
        length = int(keep.sum()) if keep is not None else int(table.num_rows)
        told(length)
        return {name: found.get(name, np.full(length, NONE, np.int64)) for name in columns}

    def reals(self, rows: Selection, column: str) -> npt.NDArray[np.float64]:
        """Return a column of numbers."""
        table, keep = self._chosen(rows, [column])
        values = self._asked(lambda: table.column(column).cast(self._pa.float64()).to_numpy())
        found: npt.NDArray[np.float64] = values if keep is None else values[keep]
        return found

    def texts(self, rows: Selection, column: str) -> Iterator[bytes | None]:
        """Yield a column of texts."""
        table, keep = self._chosen(rows, [column])
        values = self._asked(lambda: table.column(column).to_pylist())
        for index, value in enumerate(values):
            if keep is None or keep[index]:
                yield value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None

    def processes(self, table: str) -> Counter[int]:
        """Return the processes that have rows in a table, and how many."""
        of = process_column(self.columns.get(table, ()))
        if of is None:
            return Counter()
        owner = self._integers(self._chosen(Selection(table), [])[0], of)
        found, rows = np.unique(owner[owner != NONE] >> PROCESS_SHIFT, return_counts=True)
        return Counter(dict(zip(found.tolist(), rows.tolist(), strict=True)))

    def strings(self, ids: Ns) -> dict[int, bytes]:
        """Return the registered strings of these ids."""
        if not {"id", "value"} <= set(self.columns.get("StringIds", ())):
            return {}
        wanted = set(ids.tolist())
        numbers = self.integers(Selection("StringIds"), ["id"], lambda _rows: None)["id"].tolist()
        texts = self.texts(Selection("StringIds"), "value")
        return {n: text for n, text in zip(numbers, texts, strict=True) if text is not None and n in wanted}


def _names(load: Callable[[list[str] | None], Any]) -> tuple[str, ...]:
    return tuple(load(None).schema.names)


def _selected(table: Any, columns: list[str] | None) -> Any:
    return table.slice(0, 0) if columns is None else table.select(columns)
