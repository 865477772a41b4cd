"""From decoded trace events to columns: what torch's profiler (Kineto) means by its categories, names and times.

Works on one piece of a file at a time and knows nothing of the rest, so that pieces can be read side by side.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tbperf.readers import chrome
from tbperf.readers.bounds import DAY_NS, MOST_BYTES, storable
from tbperf.readers.files import Identity, open_regular, part_of, unreadable
from tbperf.trace import NONE, Kind, Strings, Thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tbperf.intervals import Ns

_KINDS = (
    ("gpu", Kind.KERNEL),
    ("gpu", Kind.MEMCPY),
    ("gpu", Kind.MEMSET),
    ("api", NONE),
    ("ops", NONE),
    ("ranges", NONE),
    ("python", NONE),
    ("overhead", NONE),
)
"""Sorts of events that are kept: their table, and what a device did."""

_TABLE_NAMES = tuple(dict.fromkeys(table for table, _ in _KINDS))
_GPU_KIND_OF_SORT = np.array([kind for _, kind in _KINDS], np.int8)
_KERNEL, _MEMCPY, _MEMSET, _API, _OPS, _RANGES, _PYTHON, _OVERHEAD = range(len(_KINDS))

_SORTS = {
    "kernel": _KERNEL,
    "gpu_memcpy": _MEMCPY,
    "memcpy": _MEMCPY,
    "gpu_memset": _MEMSET,
    "memset": _MEMSET,
    "cuda_runtime": _API,
    "cuda_driver": _API,
    "runtime": _API,
    "cpu_op": _OPS,
    "operator": _OPS,
    "user_annotation": _RANGES,
    "python_function": _PYTHON,
    "overhead": _OVERHEAD,
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
    out_of_range: Counter[str] = field(default_factory=Counter)
    """Sizes and such that cannot be, and are read as unknown; their events are kept."""
    tail: bytes | None = None


def read_range(path: Path, name: str, identity: Identity, begin: int, end: int) -> Columns:
    """Read one piece of a file."""
    try:
        with open_regular(path) as file:
            return read_piece(part_of(file, name, identity, begin, end))
    except OSError as error:
        raise unreadable(name, error, path) from error


def read_piece(piece: bytes) -> Columns:
    """Decode one piece and sort its events into columns."""
    decoded = chrome.decode(piece)
    of_kind = _by_kind(decoded)
    spans, memory = of_kind[chrome.Event], of_kind[chrome.Instant]
    starts, moments = _times(map(_TS, spans), len(spans)), _times(map(_TS, memory), len(memory))
    if starts is None or moments is None:
        decoded = chrome.decode(piece, exact=True)
        of_kind = _by_kind(decoded)
        spans, memory = of_kind[chrome.ExactEvent], of_kind[chrome.ExactInstant]
        starts, moments = _exact_times(map(_TS, spans)), _exact_times(map(_TS, memory))
    columns = Columns(
        size=len(piece),
        events=len(decoded.events),
        dropped=decoded.dropped,
        repaired=decoded.repaired,
        broken_at=decoded.broken_at,
        tail=decoded.tail,
    )
    if halves := sum(len(of_kind[half]) for half in chrome.BEGIN_OR_END):
        columns.dropped["begin_or_end_event"] += halves
    columns.thread_names = [
        (thread_of(event.pid, event.tid), storable(event.args.name))
        for event in of_kind[chrome.Metadata]
        if event.name == "thread_name" and isinstance(event.args.name, str)
    ]
    _sort_spans(columns, spans, starts)
    _keep_memory(columns, memory, moments)
    return columns


def _by_kind(decoded: chrome.Decoded) -> defaultdict[type[Any], list[Any]]:
    found: defaultdict[type[Any], list[Any]] = defaultdict(list)
    kinds = list(map(type, decoded.events))
    for kind in set(kinds):
        found[kind] = [event for event, its in zip(decoded.events, kinds, strict=True) if its is kind]
    return found


# One pass of compiled code over the events for each field: a loop that looks at event after event takes twice as long.
_TS, _DUR, _NAME, _CATEGORY, _PID, _TID = map(operator.attrgetter, ("ts", "dur", "name", "cat", "pid", "tid"))


def _sort_spans(columns: Columns, events: list[Any], start: Ns) -> None:
    """Turn the complete events of one piece into the columns of their tables."""
    category = Numbering()
    number = category.of(map(_CATEGORY, events), len(events))
    sort = np.array([_SORTS.get(name.lower(), NONE) for name in category], np.int8)[number]
    if (sort == NONE).any():
        known = sort != NONE
        events, start, sort = list(itertools.compress(events, known.tolist())), start[known], sort[known]
    strings = Strings()
    name = strings.codes(map(_NAME, events))
    dur_ns = _durations(events)
    columns.whole_microseconds = not ((start % 1000).any() or (dur_ns % 1000).any())
    thread = _threads_of(columns, events)
    annotation = strings.where(lambda text: text.startswith(_ANNOTATION))
    if annotation.any():
        sort = np.where((sort == _OPS) & annotation[name], _RANGES, sort)
    for table in _TABLE_NAMES:
        rows = np.flatnonzero(np.isin(sort, [code for code, (of, _) in enumerate(_KINDS) if of == table]))
        if not rows.size:
            continue
        found: dict[str, npt.NDArray[Any]] = {"start_ns": start[rows], "dur_ns": dur_ns[rows], "name": name[rows]}
        if table == "gpu":
            found |= _of_the_gpu(
                [events[row] for row in rows.tolist()], _GPU_KIND_OF_SORT[sort[rows]], strings, columns.out_of_range
            )
        else:
            found["thread"] = thread[rows]
        if table == "api":
            found["correlation_id"] = _ids([events[row].args.correlation for row in rows.tolist()])
        elif table == "ops":
            args = [events[row].args for row in rows.tolist()]
            found["sequence"] = _numbers([each.sequence for each in args])
            found["shapes"] = strings.codes(_shapes(args))
        columns.tables[table] = _usable(found, columns.dropped)
    if "ranges" in columns.tables:
        columns.tables["ranges"] = _without_impossible_steps(columns.tables["ranges"], strings, columns.dropped)
    columns.texts = [storable(text) for text in strings.texts]


def _without_impossible_steps(
    found: dict[str, npt.NDArray[Any]], strings: Strings, dropped: Counter[str]
) -> dict[str, npt.NDArray[Any]]:
    """Leave out steps whose number no program counts to."""
    impossible = strings.where(_IMPOSSIBLE_STEP.match)[found["name"]]
    if not impossible.any():
        return found
    dropped["step_number_out_of_range"] += int(impossible.sum())
    return {name: values[~impossible] for name, values in found.items()}


_IMPOSSIBLE_STEP = re.compile(r"ProfilerStep#(?![0-9]{1,15}$)[-+]?\d+$")


class Numbering(dict[Any, int]):
    """Gives each key the next number when it is first seen."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number

    def of(self, keys: Iterable[Any], count: int) -> npt.NDArray[np.int32]:
        """Return the number of each key."""
        return np.fromiter(map(self.__getitem__, keys), np.int32, count)


def _threads_of(columns: Columns, events: list[Any]) -> npt.NDArray[np.int32]:
    """Return the index of each event's thread, and list the threads."""
    pids, tids = Numbering(), Numbering()
    pid, tid = pids.of(map(_PID, events), len(events)), tids.of(map(_TID, events), len(events))
    pairs, thread = np.unique(pid.astype(np.int64) * max(1, len(tids)) + tid, return_inverse=True)
    processes, threads = list(pids), list(tids)
    # Threads that are the same but for how they are written are joined with those of other pieces.
    columns.threads = [thread_of(processes[pair // len(tids)], threads[pair % len(tids)]) for pair in pairs.tolist()]
    index: npt.NDArray[np.int32] = thread.astype(np.int32)
    return index


def _keep_memory(columns: Columns, instants: list[Any], start: Ns) -> None:
    """Fill in the table of allocations."""
    rows = [row for row, event in enumerate(instants) if event.name == "[memory]"]
    if not rows:
        return
    args, start = [instants[row].args for row in rows], start[rows]
    host = _numbers([each.device_type for each in args]) == 0
    found = {
        "start_ns": start,
        "device": np.where(host, NONE, _numbers([each.device for each in args])),
        "bytes": _numbers([each.bytes for each in args]),
        "allocated": _numbers([each.allocated for each in args]),
        "reserved": _numbers([each.reserved for each in args]),
    }
    usable = (start != _NO_TIME) & (found["device"] >= NONE) & (found["device"] < 2**31)
    usable &= np.abs(found["bytes"]) < MOST_BYTES
    for total in ("allocated", "reserved"):
        usable &= (found[total] >= NONE) & (found[total] < MOST_BYTES)
    if count := int((~usable).sum()):
        columns.dropped["unusable_allocation"] += count
    columns.tables["memory"] = {name: values[usable] for name, values in found.items()}


def _shapes(args: list[chrome.Args]) -> Iterator[str]:
    """Yield shapes and types of the inputs as text, the same object for the same bytes."""
    texts: dict[tuple[bytes, bytes], str] = {}
    for each in args:
        if each.input_dims is chrome.NO_TEXT and each.input_types is chrome.NO_TEXT:
            yield ""
            continue
        key = bytes(each.input_dims), bytes(each.input_types)
        text = texts.get(key)
        if text is None:
            joined = b" ".join(filter(None, key)).decode("utf-8", "replace")
            text = texts[key] = " ".join(joined.split())
        yield text


def _durations(events: list[Any]) -> Ns:
    """Return durations in nanoseconds; `_NO_TIME` and `_TOO_LONG` for what is none."""
    dur = np.fromiter(map(_DUR, events), np.float64, len(events))
    known = np.isfinite(dur) & (np.abs(dur) < _LONGEST_US)
    dur_ns = np.rint(np.where(known, dur, 0) * 1000).astype(np.int64)
    return dur_ns if known.all() else np.where(known, dur_ns, np.where(np.isnan(dur), _NO_TIME, _TOO_LONG))


def _usable(found: dict[str, npt.NDArray[Any]], dropped: Counter[str]) -> dict[str, npt.NDArray[Any]]:
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
            dropped[reason] += count
            usable &= ~mask
    return found if usable.all() else {name: values[usable] for name, values in found.items()}


def _of_the_gpu(
    events: list[Any], kinds: npt.NDArray[np.int8], strings: Strings, out_of_range: Counter[str]
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns that only work of a device has."""
    args = [event.args for event in events]

    def sizes(what: str, values: list[Any], most: int) -> Ns:
        found = _numbers(values)
        impossible = (found < NONE) | (found >= most)
        if impossible.any():
            out_of_range[what] += int(impossible.sum())
        return np.where(impossible, NONE, found)

    device, stream = _numbers([each.device for each in args]), _numbers([each.stream for each in args])
    if (device == NONE).any() or (stream == NONE).any():
        # Where the arguments do not tell, the process stands for the device and the thread for the stream.
        device = np.where(device == NONE, _numbers([event.pid for event in events]), device)
        stream = np.where(stream == NONE, _numbers([event.tid for event in events]), stream)
    return {
        "kind": kinds,
        "device": np.clip(device, 0, 2**31 - 1),
        "stream": stream,
        "correlation_id": _ids([each.correlation for each in args]),
        "bytes": sizes(
            "bytes", [each.bytes if each.dtype is None else _message_bytes(each) for each in args], MOST_BYTES
        ),
        "grid": _grids(args, strings),
        "blocks": sizes("grid", [_product(each.grid) for each in args], 2**62),
        "block_threads": sizes("block", [_product(each.block) for each in args], 2**31),
        "registers": sizes("registers per thread", [each.registers for each in args], 2**31),
        "shared_bytes": sizes("shared memory", [each.shared_memory for each in args], 2**31),
        "occupancy": np.clip(_numbers([each.occupancy for each in args]), NONE, 100),
    }


_ELEMENT_BYTES = {
    "Double": 8,
    "Long": 8,
    "Float": 4,
    "Int": 4,
    "Half": 2,
    "BFloat16": 2,
    "Short": 2,
    "Byte": 1,
    "Char": 1,
    "Bool": 1,
}


def _message_bytes(args: Any) -> Any:
    """Return the size of a collective's message, the larger one of what goes in and what comes out."""
    size = _ELEMENT_BYTES.get(args.dtype, NONE) if type(args.dtype) is str else NONE
    counts = [count for count in (args.elements_in, args.elements_out) if type(count) is int and count >= 0]
    return max(counts) * size if counts and size != NONE else args.bytes


def _grids(args: list[chrome.Args], strings: Strings) -> npt.NDArray[np.int32]:
    """Return the shape of each launch as text, `NONE` for what is no launch."""
    found = np.full(len(args), NONE, np.int32)
    rows = [row for row, each in enumerate(args) if _product(each.grid) != NONE != _product(each.block)]
    rows = [row for row in rows if len(args[row].grid) == len(args[row].block) == _SIDES]
    shapes = [(*args[row].grid, *args[row].block) for row in rows]
    found[rows] = strings.codes("{}×{}×{} of {}×{}×{}".format(*shape) for shape in shapes)
    return found


_SIDES = 3


def _product(sizes: Any) -> int:
    """Return the number of blocks or threads of three sizes."""
    if type(sizes) is not list or len(sizes) > _SIDES or set(map(type, sizes)) != {int}:
        return NONE
    return math.prod(sizes)


def thread_of(pid: Any, tid: Any) -> Thread:
    """Name a thread; numbers are numbers, also where the recorder wrote them as text."""
    return Thread(_process_or_thread(pid), _process_or_thread(tid))


def _process_or_thread(number: Any) -> int | str:
    """Return what tells a process or thread from others: a number that JSON can hold, else a text."""
    if isinstance(number, str):
        number = int(number) if number.isdecimal() and len(number) < _DIGITS else storable(number)
    elif isinstance(number, float) and number.is_integer():
        number = int(number)
    is_short = isinstance(number, int) and abs(number) < 2**63
    return number if is_short or isinstance(number, str) else "unknown" if number is None else str(number)[:_DIGITS]


_DIGITS = 20


def _ids(values: list[Any]) -> Ns:
    """Return correlation ids; recorders write 0 where they know none.

    Larger ones (they are made by hashing, too) keep their last 63 bits: that still tells them apart.
    """
    try:
        ids = _integers(values)
    except OverflowError:
        ids = np.array([_last_bits(value) for value in values], np.int64)
    return np.where(ids == 0, NONE, ids)


def _last_bits(value: Any) -> int:
    number = _integer(value)
    return number if -(2**63) <= number < 2**63 else number & (2**63 - 1)


def _numbers(values: list[Any]) -> Ns:
    """Return integers; `NONE` for what is none, the largest or smallest that there is for what is beyond it."""
    try:
        return _integers(values)
    except OverflowError:
        return np.array([min(max(_integer(value), -(2**63)), 2**63 - 1) for value in values], np.int64)


def _integers(values: list[Any]) -> Ns:
    if set(map(type, values)) <= {int}:
        return np.array(values, np.int64)
    return np.array([_integer(value) for value in values], np.int64)


def _integer(value: Any) -> int:
    """Return a number without its decimals; `NONE` for what is none."""
    try:
        return int(value) if type(value) in _NUMBERS else NONE
    except (ValueError, OverflowError):
        return NONE


_NUMBERS = (int, float, str)
"""How recorders write numbers; true and false are none."""


_NO_TIME = np.iinfo(np.int64).min
_TOO_LONG = _NO_TIME + 1
_LONGEST_US = DAY_NS / 1000
"""A day: what is longer is a counter that ran over."""


def _times(values: Iterable[float], count: int) -> Ns | None:
    """Turn microseconds into nanoseconds; None where a float cannot hold them to the nanosecond."""
    us = np.fromiter(values, np.float64, count)
    known = np.isfinite(us) & (np.abs(us) < 2.0**53)
    us = np.where(known, us, 0)
    whole = np.floor(us)
    rest = us - whole
    if (rest[np.abs(us) > _FLOAT_HOLDS_US] != 0).any():
        return None
    ns = whole.astype(np.int64) * 1000 + np.rint(rest * 1000).astype(np.int64)
    return ns if known.all() else np.where(known, ns, _NO_TIME)


def _exact_times(values: Iterable[Any]) -> Ns:
    return np.array([_exact_time(value) for value in values], np.int64)


def _exact_time(value: Any) -> int:
    try:
        ns = round(value * 1000)
    except (ValueError, OverflowError, ArithmeticError):
        return _NO_TIME
    return ns if abs(ns) < 2**62 else _NO_TIME
