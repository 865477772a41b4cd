"""From decoded trace events to columns: what torch's profiler (Kineto) means by its categories, names and times.

Works on one piece of a file at a time and knows nothing of the rest, so that pieces can be read side by side.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tbperf.readers import chrome
from tbperf.trace import NONE, Kind, Strings, Thread

if TYPE_CHECKING:
    from pathlib import Path

    from tbperf.intervals import Ns

_GPU_KIND = {
    "kernel": Kind.KERNEL,
    "gpu_memcpy": Kind.MEMCPY,
    "memcpy": Kind.MEMCPY,
    "gpu_memset": Kind.MEMSET,
    "memset": Kind.MEMSET,
}

_TABLE = {
    **dict.fromkeys(_GPU_KIND, "gpu"),
    "cuda_runtime": "api",
    "cuda_driver": "api",
    "runtime": "api",
    "cpu_op": "ops",
    "operator": "ops",
    "user_annotation": "ranges",
    "python_function": "python",
    "overhead": "overhead",
}
"""Categories of complete events, in lower case: those of torch ≤ 1.10 were written Kernel, Operator, Runtime …"""

_ANNOTATION = ("ProfilerStep#", "enumerate(DataLoader)#", "Optimizer.")
"""Annotations, which torch ≤ 1.10 wrote as operators."""

_FLOAT_HOLDS_US = 2.0**43
"""Below this a float holds microseconds to less than half a nanosecond."""


@dataclass
class Columns:
    """The columns of one piece.  Codes and threads count from 0 in each piece; times are the file's own, in ns."""

    tables: dict[str, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    thread_names: list[tuple[Thread, str]] = field(default_factory=list)
    size: int = 0
    events: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    repaired: bool = False
    broken_at: int | None = None
    whole_microseconds: bool = True
    tail: bytes | None = None


def read_range(path: Path, begin: int, end: int) -> Columns:
    """Read one piece of a file."""
    with path.open("rb") as file:
        file.seek(begin)
        return read_piece(file.read(end - begin))


def read_piece(piece: bytes) -> Columns:
    """Decode one piece and sort its events into columns."""
    decoded = chrome.decode(piece)
    complete = [event for event in decoded.events if type(event) is chrome.Event]
    if _times([event.ts for event in complete]) is None:
        decoded = chrome.decode(piece, exact=True)
        complete = [event for event in decoded.events if type(event) is chrome.ExactEvent]
    columns = Columns(
        size=len(piece),
        events=len(decoded.events),
        dropped=decoded.dropped,
        repaired=decoded.repaired,
        broken_at=decoded.broken_at,
        tail=decoded.tail,
    )
    sorts = Counter(map(type, decoded.events))
    if halves := sum(sorts[half] for half in chrome.BEGIN_OR_END):
        columns.dropped["begin_or_end_event"] += halves
    if sorts[chrome.Metadata]:
        columns.thread_names = [
            (thread_of(event.pid, event.tid), event.args.name)
            for event in decoded.events
            if type(event) is chrome.Metadata and event.name == "thread_name" and isinstance(event.args.name, str)
        ]
    by_category: dict[str, list[chrome.Event]] = {}
    for event in complete:
        if (category := event.cat) in by_category:
            by_category[category].append(event)
        else:
            by_category[category] = [event]
    sorter = _Sorter(columns)
    if sorts[chrome.Instant]:
        instants = [event for event in decoded.events if type(event) is chrome.Instant and event.name == "[memory]"]
        sorter.keep_memory(instants)
    sorter.sort(by_category)
    return columns


class _Sorter:
    """Turns the events of one piece into the columns of their tables."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._strings = Strings()
        self._threads: dict[tuple[Any, Any], int] = {}

    def sort(self, by_category: dict[str, list[chrome.Event]]) -> None:
        """Fill in the tables, texts and threads."""
        by_table: dict[str, list[chrome.Event]] = {}
        kinds: list[int] = []
        for category, events in by_category.items():
            table = _TABLE.get(category.lower())
            if table is None:
                continue
            if table == "gpu":
                kinds += [_GPU_KIND[category.lower()]] * len(events)
            by_table.setdefault(table, []).extend(events)
        ops = by_table.get("ops", [])
        if annotations := {name for name in {event.name for event in ops} if name.startswith(_ANNOTATION)}:
            by_table["ops"] = [event for event in ops if event.name not in annotations]
            by_table.setdefault("ranges", []).extend(event for event in ops if event.name in annotations)
        for table, events in by_table.items():
            found = self._spans(events)
            found |= self._gpu(events, kinds) if table == "gpu" else {"thread": self._thread(events)}
            if table == "api":
                found["correlation_id"] = _ids([event.args.correlation for event in events])
            elif table == "ops":
                found["sequence"] = _numbers([event.args.sequence for event in events])
                found["shapes"] = self._shapes(events)
            self._columns.tables[table] = self._usable(found)
        self._columns.texts = [_storable(text) for text in self._strings.texts]
        # Threads that are the same but for how they are written are joined with those of other pieces.
        self._columns.threads = [thread_of(*thread) for thread in self._threads]

    def keep_memory(self, instants: list[chrome.Instant]) -> None:
        """Fill in the table of allocations."""
        start = _exact_times([math.nan if event.ts is None else event.ts for event in instants])
        host = _numbers([event.args.device_type for event in instants]) == 0
        found = {
            "start_ns": start,
            "device": np.where(host, NONE, _numbers([event.args.device for event in instants])),
            "bytes": _numbers([event.args.bytes for event in instants]),
            "allocated": _numbers([event.args.allocated for event in instants]),
            "reserved": _numbers([event.args.reserved for event in instants]),
        }
        usable = (start != _NO_TIME) & (np.abs(found["device"]) < 2**31)
        if count := int((~usable).sum()):
            self._columns.dropped["unusable_allocation"] += count
        self._columns.tables["memory"] = {name: values[usable] for name, values in found.items()}

    def _shapes(self, events: list[chrome.Event]) -> npt.NDArray[np.int32]:
        """Keep shapes and types as text, one entry in the pool for each combination."""
        texts: dict[tuple[bytes, bytes], str] = {}
        found = []
        for event in events:
            key = bytes(event.args.input_dims), bytes(event.args.input_types)
            text = texts.get(key)
            if text is None:
                joined = b" ".join(filter(None, key)).decode("utf-8", "replace")
                text = texts[key] = " ".join(joined.split())
            found.append(text)
        return self._strings.codes(found)

    def _spans(self, events: list[chrome.Event]) -> dict[str, npt.NDArray[Any]]:
        starts = [event.ts for event in events]
        start = _times(starts)
        if start is None:
            start = _exact_times(starts)
        dur = np.array([event.dur for event in events], np.float64)
        known = np.isfinite(dur) & (np.abs(dur) < _LONGEST_US)
        dur_ns = np.rint(np.where(known, dur, 0) * 1000).astype(np.int64)
        self._columns.whole_microseconds &= not ((start % 1000).any() or (dur_ns % 1000).any())
        return {
            "start_ns": start,
            "dur_ns": np.where(known, dur_ns, np.where(np.isnan(dur), _NO_TIME, _TOO_LONG)),
            "name": self._strings.codes([event.name for event in events]),
        }

    def _usable(self, found: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Leave out events whose times say nothing, and count them."""
        start, dur = found["start_ns"], found["dur_ns"]
        reasons = (
            ("no_timestamp", start == _NO_TIME),
            ("no_duration", dur == _NO_TIME),
            ("overflowing_duration", dur == _TOO_LONG),
            ("negative_duration", dur < 0),
        )
        usable = np.ones(start.shape, np.bool_)
        for reason, mask in reasons:
            if count := int((mask & usable).sum()):
                self._columns.dropped[reason] += count
                usable &= ~mask
        return found if usable.all() else {name: values[usable] for name, values in found.items()}

    def _thread(self, events: list[chrome.Event]) -> npt.NDArray[np.int32]:
        seen = self._threads
        keys = [(event.pid, event.tid) for event in events]
        for key in dict.fromkeys(keys):
            seen.setdefault(key, len(seen))
        return np.fromiter(map(seen.__getitem__, keys), np.int32, len(keys))

    def _gpu(self, events: list[chrome.Event], kinds: list[int]) -> dict[str, npt.NDArray[Any]]:
        device = _numbers([event.args.device for event in events])
        stream = _numbers([event.args.stream for event in events])
        if (device == NONE).any() or (stream == NONE).any():
            # Where the arguments do not tell, the process stands for the device and the thread for the stream.
            device = np.where(device == NONE, _numbers([event.pid for event in events]), device)
            stream = np.where(stream == NONE, _numbers([event.tid for event in events]), stream)
        return {
            "kind": np.array(kinds, np.int8),
            "device": np.clip(device, 0, 2**31 - 1),
            "stream": stream,
            "correlation_id": _ids([event.args.correlation for event in events]),
            "bytes": _numbers([event.args.bytes for event in events]),
            "blocks": _numbers([_product(event.args.grid) for event in events]),
            "block_threads": _small(_numbers([_product(event.args.block) for event in events])),
            "registers": _small(_numbers([event.args.registers for event in events])),
            "shared_bytes": _small(_numbers([event.args.shared_memory for event in events])),
            "occupancy": np.clip(_numbers([event.args.occupancy for event in events]), NONE, 100),
        }


def _product(sizes: Any) -> int:
    """Return the number of blocks or threads of three sizes."""
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        return NONE
    return math.prod(sizes)


def _small(values: Ns) -> Ns:
    return np.where(np.abs(values) < 2**31, values, NONE)


_LONGEST_TEXT = 1 << 16


def _storable(text: str) -> str:
    """Cut what no name can be, and replace what cannot be written as UTF-8 (lone surrogates)."""
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def thread_of(pid: Any, tid: Any) -> Thread:
    """Name a thread; numbers are numbers, also where the recorder wrote them as text."""
    pid, tid = (int(v) if isinstance(v, str) and v.isdecimal() and len(v) < _DIGITS else v for v in (pid, tid))
    return Thread(pid, tid)


_DIGITS = 20


def _ids(values: list[Any]) -> Ns:
    """Return correlation ids; recorders write 0 where they know none."""
    ids = _numbers(values)
    return np.where(ids == 0, NONE, ids)


def _numbers(values: list[Any]) -> Ns:
    """Return integers; `NONE` for what is none."""
    if set(map(type, values)) <= {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass
    return np.array([_number(value) for value in values], np.int64)


def _number(value: Any) -> int:
    """Return a number in 64 bits; larger ones (ids are made by hashing, too) keep their last 63 bits."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return NONE
    return number if -(2**63) <= number < 2**63 else number & (2**63 - 1)


_NO_TIME = np.iinfo(np.int64).min
_TOO_LONG = _NO_TIME + 1
_LONGEST_US = 86_400e6
"""A day: what is longer is a counter that ran over."""


def _times(values: list[Any]) -> Ns | None:
    """Turn microseconds into nanoseconds; None where a float cannot hold them to the nanosecond."""
    if set(map(type, values)) - {float}:
        return None
    us = np.array(values, np.float64)
    known = np.isfinite(us) & (np.abs(us) < 2.0**53)
    us = np.where(known, us, 0)
    whole = np.floor(us)
    rest = us - whole
    if (rest[np.abs(us) > _FLOAT_HOLDS_US] != 0).any():
        return None
    ns = whole.astype(np.int64) * 1000 + np.rint(rest * 1000).astype(np.int64)
    return np.where(known, ns, _NO_TIME)


def _exact_times(values: list[Any]) -> Ns:
    return np.array([_exact_time(value) for value in values], np.int64)


def _exact_time(value: Any) -> int:
    try:
        ns = round(value * 1000)
    except (ValueError, OverflowError, ArithmeticError):
        return _NO_TIME
    return ns if abs(ns) < 2**62 else _NO_TIME
