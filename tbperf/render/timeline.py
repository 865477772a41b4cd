"""The timeline of a trace as a document that a browser draws: what matters exactly, the rest merged by resolution.

A track is a stream of a device, its idle time by cause, the steps, the stages, or a thread of the host; the lanes of a
track show what is nested.  A trace with more rows than the budget keeps exactly: the steps, the longest gaps with the
work on both sides of them, the longest call of each name, one whole step, and every row longer than a width.
Neighbours shorter than that width, in the same lane and the same stretch of that width, become one row that says how
many they are and how much of its time they cover.  The width is the smallest that the budget allows; it is wider for
the host than for the devices, and widest for Python calls.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tbperf.analyses.idle import CAUSES, LONGEST, HostActivity, Ledger
from tbperf.intervals import rows_by, sum_by
from tbperf.trace import NONE, Kind
from tbperf.trace.names import ALLOCATION, COLLECTIVE, COPY_CALL, MODULE_LOAD, SYNCHRONIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace

SCHEMA = "tbperf-timeline/1"

ROWS = 240_000
"""Rows of a document that stays below about 1.5 MB."""

_SORTS = (
    "kernel",
    "collective",
    "memcpy",
    "memset",
    "step",
    "stage",
    "range",
    "operator",
    "api",
    "waiting call",
    "copy call",
    "allocation call",
    "module loading",
    "system call",
    "python",
    "profiler",
    *(f"idle: {cause}" for cause in CAUSES),
)
"""What a row is, which decides its colour."""

_THREADS = 24
"""Threads that are drawn, the busiest ones."""
_STREAMS = 256
"""Streams that are drawn each by itself, over all devices; those of a device that did less share a track."""
_COUNTERS = 100
"""Values over time that are drawn, those measured most often."""
_DEEPEST = 48
"""Lanes of a track; what is nested deeper is drawn in the last."""
_POINTS = 600
"""Of a value over time."""


@dataclass(frozen=True)
class _Rows:
    """Rows of one track or of all; arrays of equal length."""

    track: Ns
    lane: Ns
    start: Ns
    dur: Ns
    name: Ns
    sort: Ns
    kept: npt.NDArray[np.bool_]
    """Never merged with neighbours."""
    count: Ns
    covered: Ns

    @classmethod
    def joined(cls, parts: list[_Rows]) -> _Rows:
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @classmethod
    def none(cls) -> _Rows:
        nothing = np.empty(0, np.int64)
        return _rows(nothing, nothing, nothing, "kernel", kept=False)

    def at(self, where: npt.NDArray[Any] | slice) -> _Rows:
        return _Rows(*(getattr(self, field.name)[where] for field in fields(self)))

    def __len__(self) -> int:
        return int(self.start.size)


def timeline(trace: Trace, *, rows: int = ROWS) -> dict[str, Any]:
    """Return the document of a trace, of at most so many rows where what is kept exactly allows that."""
    names = _Names(trace)
    tracks = [track for track in _tracks(trace, names) if len(track.rows)]
    for number, track in enumerate(tracks):
        track.rows.track[:] = number
    every = _Rows.joined([track.rows for track in tracks]) if tracks else _Rows.none()
    every = every.at(np.lexsort((every.start, every.lane, every.track)))
    start = int(every.start.min(initial=_NEVER)) if tracks else 0
    end = int((every.start + every.dur).max(initial=start))
    widening = np.array([_WIDENING.get(track.kind, 1) for track in tracks], np.int64)
    drawn, width = _merged(every, widening, (start, end), rows)
    counters = list(_counters(trace))
    often = sorted(range(len(counters)), key=lambda number: -counters[number][0])
    return {
        "schema": SCHEMA,
        "path": trace.path,
        "start_ns": start,
        "end_ns": end,
        "events": len(every),
        "rows": len(drawn),
        "sorts": _SORTS,
        "names": _packed(json.dumps(names.texts).encode()),
        "tracks": [
            {"label": track.label, "kind": track.kind, "device": track.device, "width_ns": width * int(wider)}
            | _columns(drawn.at(slice(*np.searchsorted(drawn.track, (number, number + 1)).tolist())), start)
            for number, (track, wider) in enumerate(zip(tracks, widening, strict=True))
        ],
        "threads_left_out": max(0, len(_threads(trace)) - _THREADS),
        "counters": [counters[number][1]() for number in sorted(often[:_COUNTERS])],
        "counters_left_out": max(0, len(counters) - _COUNTERS),
    }


_NEVER = np.iinfo(np.int64).max


class _Names:
    """The names that rows use, in order of first use; a trace knows far more strings than its timeline shows."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._code_of: Ns = np.full(len(trace.strings.texts), NONE, np.int64)
        self._own: dict[str, int] = {}
        self.texts: list[str] = []

    def of(self, codes: npt.NDArray[Any]) -> Ns:
        """Return the codes of this document for codes of the trace."""
        for code in np.unique(codes).tolist():
            if self._code_of[code] == NONE:
                self._code_of[code] = len(self.texts)
                self.texts.append(self._trace.strings[code])
        found: Ns = self._code_of[codes]
        return found

    def own(self, text: str) -> int:
        """Return the code of a text of this document."""
        if text not in self._own:
            self._own[text] = len(self.texts)
            self.texts.append(text)
        return self._own[text]


@dataclass(frozen=True)
class _Track:
    label: str
    kind: str
    """steps, stages, idle, stream, thread or python."""
    device: int | None
    rows: _Rows


def _tracks(trace: Trace, names: _Names) -> Iterator[_Track]:
    steps, typical = trace.steps, _typical_step(trace)
    if len(steps):
        codes = np.array([names.own(f"step {number}") for number in steps.number.tolist()], np.int64)
        yield _Track("steps", "steps", None, _rows(steps.start_ns, steps.end_ns, codes, "step", kept=True))
    stages = trace.stage_tiling
    if stages.start.size:
        of_stage = np.array([names.own(stage) for stage in trace.stage_names], np.int64)
        yield _Track(
            "stages", "stages", None, _rows(stages.start, stages.end, of_stage[stages.label], "stage", kept=False)
        )
    host = trace.once(HostActivity)
    for device in trace.devices:
        of = f"GPU {device} " if len(trace.devices) > 1 else "GPU "
        ledger = Ledger(trace, host, device)
        longest = np.argsort(-ledger.gaps.dur, kind="stable")[:LONGEST]
        yield _Track(of + "idle", "idle", device, _idle(ledger, longest, names))
        edges = np.r_[ledger.gaps.start[longest], ledger.gaps.end[longest]]
        for label, where in _streams(trace, device):
            yield _Track(of + label, "stream", device, _gpu(trace, where, names, edges, typical))
    threads = _threads(trace)
    for thread in threads[:_THREADS]:
        found = _host(trace, thread, names, typical)
        label = _thread_label(trace, thread)
        if len(found):
            yield _Track(label, "thread", None, found)
        calls = _in_lanes(_table_rows(trace.python, trace.python["thread"] == thread, names, "python", typical))
        if len(calls):
            yield _Track(f"Python in {label}", "python", None, calls)
    overhead = _in_lanes(_table_rows(trace.overhead, np.ones(len(trace.overhead), np.bool_), names, "profiler", None))
    if len(overhead):
        yield _Track("profiler", "thread", None, overhead)


def _streams(trace: Trace, device: int) -> Iterator[tuple[str, Ns]]:
    """Yield the streams of a device with their work; beyond the number that is drawn, the busiest and the others."""
    here = np.flatnonzero(trace.gpu["device"] == device)
    streams = [(stream, here[mine]) for stream, mine in rows_by(trace.gpu["stream"][here])]
    most = max(1, _STREAMS // len(trace.devices))
    if len(streams) > most:
        busiest = sorted(streams, key=lambda found: -int(trace.gpu["dur_ns"][found[1]].sum()))
        kept = {stream for stream, _ in busiest[: most - 1]}
        others = np.sort(np.concatenate([mine for stream, mine in streams if stream not in kept]))
        streams = [found for found in streams if found[0] in kept]
    for stream, mine in streams:
        yield f"stream {stream}" if stream != NONE else "work", mine
    if len(streams) == most - 1:
        yield "other streams", others


def _rows(start: Ns, end: Ns, name: Ns, sort: str, *, kept: bool) -> _Rows:
    zeros = np.zeros(start.size, np.int64)
    dur = np.maximum(end - start, 0)
    return _Rows(
        zeros.copy(),
        zeros,
        start,
        dur,
        name,
        np.full(start.size, _SORTS.index(sort)),
        np.full(start.size, kept),
        np.ones(start.size, np.int64),
        dur,
    )


def _typical_step(trace: Trace) -> tuple[int, int] | None:
    """Return the span of the step of median length, which is shown in full; None where there are too few."""
    steps = trace.steps
    if len(steps) < _ENOUGH_STEPS:
        return None
    at = int(np.argsort(steps.end_ns - steps.start_ns, kind="stable")[len(steps) // 2])
    return int(steps.start_ns[at]), int(steps.end_ns[at])


_ENOUGH_STEPS = 8
"""With fewer, a whole step is too large a part of the budget."""


def _idle(ledger: Ledger, longest: Ns, names: _Names) -> _Rows:
    pieces = ledger.pieces
    code = np.array([names.own(cause) for cause in CAUSES], np.int64)
    found = _rows(pieces.start, pieces.end, code[pieces.cause], "kernel", kept=False)
    found.sort[:] = _SORTS.index(f"idle: {CAUSES[0]}") + pieces.cause
    found.kept[:] = np.isin(pieces.gap, longest)
    return found


def _gpu(trace: Trace, where: Ns, names: _Names, edges: Ns, typical: tuple[int, int] | None) -> _Rows:
    rows = _table_rows(trace.gpu, where, names, "kernel", typical)
    kind = trace.gpu["kind"][where]
    rows.sort[kind == Kind.MEMCPY] = _SORTS.index("memcpy")
    rows.sort[kind == Kind.MEMSET] = _SORTS.index("memset")
    rows.sort[(kind == Kind.KERNEL) & trace.once(_collectives)[where]] = _SORTS.index("collective")
    rows.kept[:] |= np.isin(rows.start, edges) | np.isin(rows.start + rows.dur, edges)
    return _in_lanes(rows)


def _collectives(trace: Trace) -> npt.NDArray[np.bool_]:
    return trace.named(trace.gpu, COLLECTIVE.match)


def _host(trace: Trace, thread: int, names: _Names, typical: tuple[int, int] | None) -> _Rows:
    api = trace.api["thread"] == thread
    calls = _table_rows(trace.api, api, names, "api", typical)
    for sort, pattern in (
        ("module loading", MODULE_LOAD),
        ("allocation call", ALLOCATION),
        ("copy call", COPY_CALL),
        ("waiting call", SYNCHRONIZE),
    ):
        calls.sort[trace.named(trace.api, pattern.match)[api]] = _SORTS.index(sort)
    ranges = _table_rows(trace.ranges, trace.ranges["thread"] == thread, names, "range", typical)
    ops = _table_rows(trace.ops, trace.ops["thread"] == thread, names, "operator", typical)
    system = _table_rows(trace.os, trace.os["thread"] == thread, names, "system call", typical)
    return _in_lanes(_Rows.joined([ranges, ops, calls, system]))


def _table_rows(
    table: Table, where: npt.NDArray[Any], names: _Names, sort: str, typical: tuple[int, int] | None
) -> _Rows:
    mine = table.rows(where)
    rows = _rows(mine["start_ns"], mine.end_ns, names.of(mine["name"]), sort, kept=False)
    if typical is not None:
        rows.kept[:] |= (rows.start >= typical[0]) & (rows.start < typical[1])
    # The longest call of each name.
    order = np.lexsort((rows.dur, rows.name))
    last = np.r_[rows.name[order][1:] != rows.name[order][:-1], True][: order.size]
    rows.kept[order[last]] = True
    return rows


def _in_lanes(rows: _Rows) -> _Rows:
    """Give each row the lane below all that are open when it opens."""
    order = np.lexsort((-rows.dur, rows.start))
    rows = rows.at(order)
    closed = np.searchsorted(np.sort(rows.start + rows.dur), rows.start, side="right")
    # Rows without a duration close when they open; they are counted as closed before their time.
    instant = np.cumsum(rows.dur == 0)
    depth = np.arange(len(rows)) - (closed - _instants_not_before(rows, instant))
    rows.lane[:] = np.clip(depth, 0, _DEEPEST - 1)
    return rows


def _instants_not_before(rows: _Rows, instant: Ns) -> Ns:
    """Count the rows without a duration that start at or after each row in order, at the same moment."""
    last_of_moment = np.searchsorted(rows.start, rows.start, side="right") - 1
    return instant[last_of_moment] - instant + (rows.dur == 0) if len(rows) else instant


def _threads(trace: Trace) -> list[int]:
    """Return the threads that did something: the main one, then the busiest."""
    totals = np.zeros(max(1, len(trace.threads)), np.int64)
    for table in (trace.ops, trace.ranges, trace.api, trace.os, trace.python):
        totals += sum_by(table["thread"], table["dur_ns"], totals.size)
    order = np.argsort(-totals, kind="stable")
    return sorted(order[totals[order] > 0].tolist(), key=lambda thread: thread != trace.main_thread)


def _thread_label(trace: Trace, thread: int) -> str:
    found = trace.threads[thread]
    name = found.name or "thread"
    label = name if str(found.tid) in name else f"{name} {found.tid}"
    if thread != trace.main_thread:
        return label
    return f"main {label}" if label.startswith("thread") else f"{label}, main"


def _merged(rows: _Rows, widening: Ns, window: tuple[int, int], budget: int) -> tuple[_Rows, int]:
    """Merge neighbours until the rows are few enough; return them with the width that this took, 0 for none."""
    if len(rows) <= budget:
        return rows, 0
    start, end = window
    width = max(1, (end - start) >> _FINEST)
    while True:
        first = _first_of_groups(rows, start, width * widening[rows.track])
        if int(first.sum()) <= budget or width >= end - start:
            return _grouped(rows, first), width
        width *= 2


_FINEST = 20
"""The finest width that is tried is the window halved so many times."""
_WIDENING: Mapping[str, int] = {"thread": 8, "python": 64}
"""How much wider than on a device stretches are in tracks of a kind."""


def _first_of_groups(rows: _Rows, start: int, width: Ns) -> npt.NDArray[np.bool_]:
    """Tell which rows begin a group, for the width at each row; rows that stay by themselves are groups of one."""
    alone = rows.kept | (rows.dur >= width)
    stretch = (rows.start - start) // width
    same = (
        (rows.track[1:] == rows.track[:-1])
        & (rows.lane[1:] == rows.lane[:-1])
        & (stretch[1:] == stretch[:-1])
        & ~alone[1:]
        & ~alone[:-1]
    )
    first: npt.NDArray[np.bool_] = np.r_[True, ~same]
    return first


def _grouped(rows: _Rows, first: npt.NDArray[np.bool_]) -> _Rows:
    """Join the rows of each group: from its first start to its last end, by the name of its longest row."""
    at = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    longest = np.lexsort((rows.dur, group))[np.r_[at[1:], len(rows)] - 1]
    begin = rows.start[at]
    reach = np.maximum.reduceat(rows.start + rows.dur, at)
    covered = np.minimum(np.add.reduceat(rows.dur, at), reach - begin)
    return _Rows(
        rows.track[at],
        rows.lane[at],
        begin,
        reach - begin,
        rows.name[longest],
        rows.sort[longest],
        rows.kept[at],
        np.add.reduceat(rows.count, at),
        covered,
    )


def _columns(rows: _Rows, origin: int) -> dict[str, Any]:
    """Encode rows that are sorted by lane and start: one column after the other, each a run of varints, compressed.

    The columns are: lane, start after the row before it in its lane (after the origin for the first), duration, name,
    sort, rows merged into it besides one, and nanoseconds of its duration that they leave uncovered.
    """
    opens = np.r_[True, rows.lane[1:] != rows.lane[:-1]] if len(rows) else np.empty(0, np.bool_)
    before = np.r_[0, rows.start[:-1]] if len(rows) else rows.start
    delta = rows.start - np.where(opens, origin, before)
    columns = (rows.lane, delta, rows.dur, rows.name, rows.sort, rows.count - 1, rows.dur - rows.covered)
    return {
        "lanes": int(rows.lane.max(initial=-1)) + 1,
        "rows": len(rows),
        "columns": _packed(b"".join(map(_varints, columns))),
    }


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 7)).decode()


def _varints(values: Ns) -> bytes:
    """Write integers ≥ 0 in groups of seven bits, the lowest first; the eighth bit says that more follow."""
    left = values.astype(np.uint64)
    length = np.ones(values.size, np.int64)
    for bits in range(7, 64, 7):
        length += (left >> np.uint64(bits)) > 0
    ends = np.cumsum(length)
    out = np.zeros(int(ends[-1]) if values.size else 0, np.uint8)
    at = ends - length
    for part in range(int(length.max(initial=0))):
        more = length > part
        byte = (left[more] >> np.uint64(7 * part)) & np.uint64(0x7F)
        follows = (length[more] > part + 1).astype(np.uint64) << np.uint64(7)
        out[at[more] + part] = (byte | follows).astype(np.uint8)
    return out.tobytes()


def _counters(trace: Trace) -> Iterator[tuple[int, Callable[[], dict[str, Any]]]]:
    """Yield what was measured over time, how often and the counter: allocated memory, samples of the hardware."""
    memory = trace.memory
    for device, here in rows_by(memory["device"]):
        for column, words in (("allocated", "memory allocated"), ("reserved", "memory reserved")):
            mine = here[memory[column][here] >= 0]
            if mine.size:
                of = f"GPU {device} " if device != NONE else "CPU "
                yield mine.size, functools.partial(_counter, of + words, "bytes", memory, column, mine)
    samples = trace.samples
    for code, here in rows_by(samples["series"]):
        words, unit = _series_words(trace.strings[code])
        for device, of_device in rows_by(samples["device"][here]):
            label = words if device == NONE else f"{words} {device}"
            yield of_device.size, functools.partial(_counter, label, unit, samples, "value", here[of_device])


_UNITS: Mapping[str, str] = {"percent": "%", "watts": "W", "celsius": "°C", "mhz": "MHz", "bytes": "bytes"}


def _series_words(series: str) -> tuple[str, str]:
    """Split ``power_watts`` into its words and its unit."""
    words, _, unit = series.rpartition("_")
    if unit not in _UNITS:
        return series.replace("_", " "), ""
    return words.replace("_", " "), _UNITS[unit]


def _counter(label: str, unit: str, table: Table, column: str, rows: Ns) -> dict[str, Any]:
    """Thin a series to what can be drawn: of each stretch the moment with the highest value."""
    times, values = table["start_ns"][rows], table[column][rows].astype(np.float64)
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    if times.size > _POINTS:
        edges = np.linspace(0, times.size, _POINTS + 1).astype(np.int64)
        at = np.array([low + int(values[low:high].argmax()) for low, high in itertools.pairwise(edges.tolist())])
        times, values = times[at], values[at]
    high = 100.0 if unit == "%" else None
    return {
        "label": label,
        "unit": unit,
        "times": times.tolist(),
        "values": values.tolist(),
        "low": 0.0 if unit else None,
        "high": high,
    }
