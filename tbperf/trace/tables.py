"""Columns declared once, as data; tables of them; one pool for all strings of a trace.

The reader fills the tables by this declaration, `Table.to_pandas` shows them by it, and the documentation prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from tbperf.intervals import Ns

NONE = -1
"""The only sentinel: an id, code or size that the recorder did not give."""


class Kind(IntEnum):
    """What a device did."""

    KERNEL = 0
    MEMCPY = 1
    MEMSET = 2
    GRAPH = 3
    """A replay of a graph that the recorder timed as a whole, without its kernels and copies."""


COPY_KINDS = ("HtoD", "DtoH", "DtoD", "HtoH", "PtoP")
"""One spelling everywhere; ``copy_kind`` is an index into this."""

LONGEST_TEXT = 1 << 13
"""Characters of a name, of shapes, and of all else that a recorder may write at any length; what is longer is cut."""

HOST_MEMORY = ("pageable", "pinned", "managed")
"""Memory on the host's side of a copy; ``host_memory`` is an index into this."""

RANGE_STYLES = ("push/pop", "start/end")
"""How NVTX opened and closed a range; ``style`` is an index into this."""


@dataclass(frozen=True)
class Column:
    """One column: its name with its unit, its type, and what it means."""

    name: str
    dtype: str
    """A numpy type, or ``str``: int32 codes into the trace's string pool."""
    doc: str
    codes: tuple[str, ...] = ()
    """What the integers stand for, where they are codes of a fixed list."""

    @property
    def stored(self) -> str:
        """The numpy type in memory."""
        return "int32" if self.dtype == "str" else self.dtype


_SPAN = (
    Column("start_ns", "int64", "Start, nanoseconds after the trace's origin."),
    Column("dur_ns", "int64", "Duration in nanoseconds, never negative."),
    Column("name", "str", "What ran, as the recorder named it."),
)
_THREAD = Column("thread", "int32", "Index into the trace's threads.")
_CORRELATION = Column("correlation_id", "int64", "Number shared by an API call and what it caused; -1 if unknown.")

TABLES: Mapping[str, tuple[Column, ...]] = {
    "gpu": (
        *_SPAN,
        Column("kind", "int8", "What the device did.", tuple(k.name.lower() for k in Kind)),
        Column("device", "int32", "Device ordinal."),
        Column("stream", "int64", "Stream id; -1 if unknown."),
        _CORRELATION,
        Column("bytes", "int64", "Bytes of a copy, memset or collective's message; -1 if unknown or a kernel."),
        Column("copy_kind", "int8", "Direction of a copy; -1 for anything else.", COPY_KINDS),
        Column("host_memory", "int8", "Host memory of a copy or memset; -1 if none or unknown.", HOST_MEMORY),
        Column("blocks", "int64", "Thread blocks of a kernel's grid; -1 if unknown."),
        Column("block_threads", "int32", "Threads of a block; -1 if unknown."),
        Column("registers", "int32", "Registers per thread; -1 if unknown."),
        Column("shared_bytes", "int32", "Shared memory of a block; -1 if unknown."),
        Column("occupancy", "int16", "Estimated achieved occupancy in percent; -1 if unknown."),
        Column("grid", "str", "Grid and block of a kernel, as in 64×1×1 of 256×1×1; -1 if unknown."),
    ),
    "api": (*_SPAN, _THREAD, _CORRELATION),
    "ops": (
        *_SPAN,
        _THREAD,
        Column("sequence", "int64", "Shared by an operator and its backward; -1 if unknown."),
        Column("shapes", "str", "Shapes and types of the inputs as the recorder wrote them; empty if not recorded."),
    ),
    "ranges": (
        *_SPAN,
        _THREAD,
        Column("domain", "str", "NVTX domain; empty for the default one, -1 for ranges of other recorders."),
        Column("style", "int8", "How NVTX opened it; -1 for ranges of other recorders.", RANGE_STYLES),
    ),
    "python": (*_SPAN, _THREAD),
    "os": (*_SPAN, _THREAD),
    "overhead": (*_SPAN, _THREAD),
    "memory": (
        Column("start_ns", "int64", "When it happened, nanoseconds after the trace's origin."),
        Column("device", "int32", "Device ordinal; -1 for host memory."),
        Column("bytes", "int64", "Allocated; negative where released."),
        Column("allocated", "int64", "Allocated on the device in all, after it; -1 if unknown."),
        Column("reserved", "int64", "Reserved by the caching allocator in all, after it; -1 if unknown."),
    ),
    "samples": (
        Column("start_ns", "int64", "When it was measured, nanoseconds after the trace's origin."),
        Column("series", "str", "What was measured, with its unit: gpu_utilization_percent, power_watts, rss_bytes …"),
        Column("device", "int32", "Device ordinal or core; -1 for the whole machine or process tree."),
        Column("value", "float64", "The value."),
    ),
}
"""gpu: kernels, copies, memsets · api: runtime and driver calls · ops: framework operators · ranges: annotations, NVTX,
stages, steps, and what loader workers did (``loader/…``, on threads of their own) · python: Python calls · os: calls
of the operating system's runtime that took long, which are waits for the most part · overhead: the recorder's own work
· memory: allocations and releases · samples: hardware over time."""


class _Codes(dict[str, int]):
    """Numbers each text when it is first seen."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def __missing__(self, text: str) -> int:
        code = self[text] = len(self._texts)
        self._texts.append(text)
        return code


class Strings:
    """A pool that gives each distinct text a small integer, in order of appearance."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes = _Codes(self.texts)

    def codes(self, texts: Iterable[str]) -> npt.NDArray[np.int32]:
        """Return the code of each text, new or seen before."""
        return np.fromiter(map(self._codes.__getitem__, texts), np.int32)

    def __getitem__(self, code: int) -> str:
        return self.texts[code]

    def where(self, accepts: Callable[[str], object]) -> npt.NDArray[np.bool_]:
        """Ask something of each distinct text once; index the answer with a column of codes."""
        return np.fromiter((bool(accepts(text)) for text in self.texts), np.bool_, count=len(self.texts))

    def labelled(self, label: Callable[[str], int], names: npt.NDArray[Any]) -> Ns:
        """Return a number for each entry of a column of codes, asked for once for each distinct text in it."""
        used = np.flatnonzero(np.bincount(names, minlength=1))
        of_code = np.zeros(len(self.texts) + 1, np.int64)
        of_code[used] = [label(self.texts[code]) for code in used.tolist()]
        found: Ns = of_code[names]
        return found


class Table:
    """Columns of equal length, by name; strings are codes into the trace's pool."""

    def __init__(self, name: str, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        self.name = name
        self.columns = dict(columns)

    @classmethod
    def of(cls, name: str, columns: Mapping[str, npt.NDArray[Any]]) -> Table:
        """Check columns against the declaration; those that are not given are `NONE`."""
        length = len(columns["start_ns"])
        declared = {column.name: column for column in TABLES[name]}
        if unknown := columns.keys() - declared.keys():
            raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
        filled = {
            column.name: np.asarray(columns[column.name], column.stored)
            if column.name in columns
            else np.full(length, NONE, column.stored)
            for column in TABLES[name]
        }
        if any(len(values) != length for values in filled.values()):
            raise ValueError(f"the columns of table {name} differ in length")
        return cls(name, filled)

    @classmethod
    def empty(cls, name: str) -> Table:
        """A table without rows."""
        return cls.of(name, {"start_ns": np.empty(0, np.int64)})

    def __len__(self) -> int:
        return len(self.columns["start_ns"])

    def __getitem__(self, column: str) -> npt.NDArray[Any]:
        return self.columns[column]

    @cached_property
    def end_ns(self) -> Ns:
        """End of each row, nanoseconds after the trace's origin; not for tables of moments."""
        end: Ns = self.columns["start_ns"] + self.columns["dur_ns"]
        return end

    def rows(self, where: npt.NDArray[Any]) -> Table:
        """Select rows by mask or index."""
        return Table(self.name, {name: values[where] for name, values in self.columns.items()})

    def replaced(self, **columns: npt.NDArray[Any]) -> Table:
        """Return the table with other values in some columns."""
        return Table(self.name, self.columns | columns)

    def to_pandas(self, strings: Strings) -> pd.DataFrame:
        """Return a data frame with categoricals for strings and fixed lists, one row an event."""
        import pandas as pd  # noqa: PLC0415 - half a second that only users of data frames pay

        frame = {}
        for column in TABLES[self.name]:
            values = self.columns[column.name]
            categories = column.codes or (strings.texts if column.dtype == "str" else None)
            frame[column.name] = (
                values
                if categories is None
                else pd.Categorical.from_codes(values, categories=pd.Index(list(categories)))
            )
        return pd.DataFrame(frame)
