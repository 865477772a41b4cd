"""Why was each device idle?  Every idle nanosecond gets exactly one cause.

A gap is cut at the call that launched the work which ends it.  Call end → work start is `queued`, the call itself is
`launch`; before it, each nanosecond goes to what the launching thread was doing or, where that thread has nothing
open, the main thread: the first of the causes below that applies.  A gap that no known launch ends is attributed like
that over its whole length, by the main thread.  The causes of a device sum to its idle time exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import NOTHING, Lanes, Spans, Tiling, Tilings, sum_by
from tbperf.trace import HOST_MEMORY, Kind
from tbperf.trace.names import (
    ALLOCATION,
    ASYNC_COPY_CALL,
    COMPILATION,
    COPY_CALL,
    GRAPH_LAUNCH,
    KERNEL_LAUNCH,
    MEMSET_CALL,
    MODULE_LOAD,
    SYNCHRONIZE,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace

CAUSES = (
    "profiler",
    "sync",
    "memcpy",
    "allocation",
    "module_load",
    "launch",
    "dataloader",
    "save",
    "plot",
    "validation",
    "host_op",
    "python",
    "queued",
    "unknown",
)
"""In order of precedence, but for the last two: what is launched and waits, and what nothing explains."""

_PROFILER, _LAUNCH, _QUEUED, _UNKNOWN = (CAUSES.index(name) for name in ("profiler", "launch", "queued", "unknown"))

_STAGE_CAUSES = {
    "dataload": "dataloader",
    "fetch": "dataloader",
    "save": "save",
    "plot": "plot",
    "validate": "validation",
    "final_eval": "validation",
}

OVERHEAD_OF_CUDA = {
    "module_load": re.compile(
        r"Lazy Function Loading|Runtime Triggered Module Loading|Runtime module loading|Driver (?:JIT )?compiler",
        re.IGNORECASE,
    ),
    "launch": re.compile(r"Command Buffer Full", re.IGNORECASE),
}
"""What CUPTI reports as overhead, but the program would have had to bear without a profiler, too."""

LONGEST = 50
"""So many gaps are described one by one."""


@dataclass(frozen=True)
class IdleCause:
    """What one cause cost one device."""

    device: int
    cause: str
    idle_ns: int
    gaps: int
    """Gaps that this cause has a part in."""
    longest_ns: int
    """The longest time that it took in one gap."""
    longest_start_ns: int
    """Where that began."""


@dataclass(frozen=True)
class Gap:
    """One stretch without any work on the device."""

    device: int
    start_ns: int
    dur_ns: int
    cause: str
    """The cause that took most of it."""
    cause_ns: int
    step: int | None
    stage: str | None
    before: str
    after: str
    host: str | None
    """What the host was doing when that cause began: the innermost range, operator or API call."""
    line: str | None
    """The innermost Python call then, where the recorder wrote them."""


@dataclass(frozen=True)
class _Pieces:
    """Idle time cut by gap and cause; arrays of equal length."""

    gap: Ns
    cause: Ns
    start: Ns
    end: Ns
    thread: Ns

    def where(self, rows: npt.NDArray[np.bool_]) -> _Pieces:
        """Select some."""
        return _Pieces(*(getattr(self, field.name)[rows] for field in fields(self)))


class Ledger:
    """The idle time of one device, attributed."""

    def __init__(self, trace: Trace, host: HostActivity, device: int) -> None:
        self.trace = trace
        self.device = device
        self.gaps: Spans = trace.busy[device].gaps(*trace.windows[device])
        self._rows = np.flatnonzero(trace.gpu["device"] == device)
        self._host = host

    @cached_property
    def ended_by(self) -> Ns:
        """Row of the gpu table whose start ends each gap; of several, the one that was launched first."""
        start = self.trace.gpu["start_ns"][self._rows]
        call = self.trace.launched_by[self._rows]
        launched = self.trace.gpu_launch_ns[self._rows]
        solid = self.trace.gpu["dur_ns"][self._rows] > 0
        order = np.lexsort((launched, call < 0, ~solid, start))
        at = np.searchsorted(start[order], self.gaps.end, side="left")
        return self._rows[order[at]]

    @cached_property
    def pieces(self) -> _Pieces:
        """Every idle nanosecond, with its gap, its cause, and the thread that decided."""
        call = self.trace.launched_by[self.ended_by]
        known = call >= 0
        api = self.trace.api
        if len(api):
            call_start = np.where(known, api["start_ns"][call], self.gaps.end)
            call_end = np.where(known, api.end_ns[call], self.gaps.end)
            thread = np.where(known, api["thread"][call], self.trace.main_thread)
        else:
            call_start = call_end = self.gaps.end
            thread = np.full(len(self.gaps), self.trace.main_thread)
        # The call may lie before the gap, in it, or reach beyond it.
        begins = np.clip(call_start, self.gaps.start, self.gaps.end)
        ends = np.clip(call_end, begins, self.gaps.end)
        index = np.arange(len(self.gaps))
        parts = [
            _Pieces(index, np.full_like(index, _QUEUED), ends, self.gaps.end, thread),
            _Pieces(index, np.full_like(index, _LAUNCH), begins, ends, thread),
        ]
        waiting = np.flatnonzero(begins > self.gaps.start)
        parts.append(self._before_the_call(waiting, begins, thread))
        joined = _Pieces(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Pieces)))
        return joined.where(joined.end > joined.start)

    def _before_the_call(self, gaps: Ns, begins: Ns, thread: Ns) -> _Pieces:
        before = Spans(self.gaps.start[gaps], begins[gaps])
        tiling = self._host.causes(Tiling(before.start, before.end, thread[gaps]))
        silent = Tiling.first_of([(_UNKNOWN, before - tiling.spans())])
        start = np.r_[tiling.start, silent.start]
        which = np.searchsorted(before.start, start, side="right") - 1
        return _Pieces(
            gaps[which],
            np.r_[tiling.label, silent.label],
            start,
            np.r_[tiling.end, silent.end],
            thread[gaps[which]],
        )

    def causes(self) -> Iterator[IdleCause]:
        """Sum by cause."""
        pieces = self.pieces
        key, first, at = np.unique(pieces.gap * len(CAUSES) + pieces.cause, return_index=True, return_inverse=True)
        by_gap = sum_by(at, pieces.end - pieces.start, len(key))
        for cause, name in enumerate(CAUSES):
            mine = np.flatnonzero(key % len(CAUSES) == cause)
            if mine.size:
                longest = mine[by_gap[mine].argmax()]
                yield IdleCause(
                    device=self.device,
                    cause=name,
                    idle_ns=int(by_gap[mine].sum()),
                    gaps=int(mine.size),
                    longest_ns=int(by_gap[longest]),
                    longest_start_ns=int(pieces.start[first[longest]]),
                )

    def by_step(self) -> Ns:
        """Return the idle time of each step by cause: a row a step, a column a cause."""
        pieces, steps = self.pieces, self.trace.steps
        order = np.argsort(pieces.start, kind="stable")
        tiling = Tiling(pieces.start[order], pieces.end[order], pieces.cause[order])
        tiling = tiling.within(Spans(steps.start_ns, steps.end_ns))
        cell = steps.at(tiling.start) * len(CAUSES) + tiling.label
        return sum_by(cell, tiling.end - tiling.start, len(steps) * len(CAUSES)).reshape(-1, len(CAUSES))

    def lengths(self) -> Iterator[GapsOfLength]:
        """Sum gaps by decade of length."""
        decade = np.searchsorted(_DECADES_NS, self.gaps.dur, side="right") - 1
        for index, low in enumerate(_DECADES_NS):
            mine = self.gaps.dur[decade == index]
            if mine.size:
                high = _DECADES_NS[index + 1] if index + 1 < len(_DECADES_NS) else None
                yield GapsOfLength(self.device, low, high, int(mine.size), int(mine.sum()))

    def described(self, order: Ns) -> Iterator[Gap]:
        """Describe some gaps."""
        if not order.size:
            return
        pieces = self.pieces.where(np.isin(self.pieces.gap, order))
        rows_by_end = self._rows[np.argsort(self.trace.gpu.end_ns[self._rows], kind="stable")]
        ends = self.trace.gpu.end_ns[rows_by_end]
        names = self.trace.strings
        for gap in order.tolist():
            start, end = int(self.gaps.start[gap]), int(self.gaps.end[gap])
            mine = pieces.where(pieces.gap == gap)
            by_cause = sum_by(mine.cause, mine.end - mine.start, len(CAUSES))
            cause = int(by_cause.argmax())
            of_cause = mine.where(mine.cause == cause)
            longest = int(np.argmax(of_cause.end - of_cause.start))
            moment = int(of_cause.start[longest])
            step = int(self.trace.steps.at(np.array([moment]))[0])
            before = rows_by_end[np.searchsorted(ends, start, side="right") - 1]
            yield Gap(
                device=self.device,
                start_ns=start,
                dur_ns=end - start,
                cause=CAUSES[cause],
                cause_ns=int(by_cause[cause]),
                step=None if step == NOTHING else int(self.trace.steps.number[step]),
                stage=self.trace.stage_name(int(self.trace.stage_tiling.at(np.array([moment]))[0])),
                before=names[self.trace.gpu["name"][before]],
                after=names[self.trace.gpu["name"][self.ended_by[gap]]],
                host=self._host.innermost_at(moment, int(of_cause.thread[longest])),
                line=self._host.python_at(moment, int(of_cause.thread[longest])),
            )


class HostActivity:
    """What each thread of the host was doing, as far as the trace tells."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def causes(self, deciding: Tiling) -> Tiling:
        """Tile time by cause, where a tiling says whose activity decides: its labels are threads.

        Where that thread has nothing open, what the main thread was doing decides.
        """
        main, layers = self._trace.main_thread, self._layers
        times = [part for _, layer in layers for part in (layer.start, layer.end)]
        lanes = Lanes(len(self._trace.threads), deciding.start, deciding.end, *times)
        order = np.argsort(deciding.label, kind="stable")
        whose = deciding.label[order]
        turns = Spans(lanes.place(whose, deciding.start[order]), lanes.place(whose, deciding.end[order]))
        first = [(_PROFILER, self._profiler)]
        first += [(cause, _in_turn(lanes, layer, turns)) for cause, layer in layers]
        if (whose != main).any():
            first += [(cause, layer.of(main).spans()) for cause, layer in layers]
        return Tiling.first_of(first).within(Spans(deciding.start, deciding.end))

    def driving(self) -> Tiling:
        """Tile time by cause of the thread that drives the device: the one that launches next."""
        trace = self._trace
        calls = np.unique(trace.launched_by)
        calls = calls[calls >= 0]
        calls = calls[np.argsort(trace.api["start_ns"][calls], kind="stable")]
        thread = trace.api["thread"][calls].astype(np.int64)
        known = [(self._profiler.start, self._profiler.end), *((layer.start, layer.end) for _, layer in self._layers)]
        first = min(int(start.min(initial=0)) for start, _ in known)
        if (thread == thread[:1]).all():  # nobody to take turns with
            last = max(int(end.max(initial=0)) for _, end in known)
            whose = thread[:1] if thread.size else np.array([trace.main_thread])
            return self.causes(Tiling(np.array([first]), np.array([last]), whose))
        until = trace.api.end_ns[calls]
        since = np.r_[first, np.maximum.accumulate(until)[:-1]]
        longer = until > since
        return self.causes(Tiling(since[longer], until[longer], thread[longer]))

    @cached_property
    def _profiler(self) -> Spans:
        """The recorder's own work, which holds up all threads."""
        of_cuda = [self._of_cuda(cause) for cause in OVERHEAD_OF_CUDA]
        return _spans(self._trace.overhead.rows(~np.logical_or.reduce(of_cuda)))

    def _of_cuda(self, cause: str) -> npt.NDArray[np.bool_]:
        return self._trace.named(self._trace.overhead, OVERHEAD_OF_CUDA[cause].match)

    @cached_property
    def _layers(self) -> list[tuple[int, Tilings]]:
        """What else could be the cause, the first that applies first, and when it was on each thread."""
        trace = self._trace
        found = []
        for cause in ("sync", "memcpy", "allocation", "module_load", "launch"):
            tables = [trace.api.rows(self._calls[cause])]
            if cause in OVERHEAD_OF_CUDA:
                tables.append(trace.overhead.rows(self._of_cuda(cause)))
            if cause == "module_load":
                where = (trace.ops, trace.ranges, trace.python)
                tables += [table.rows(trace.named(table, COMPILATION.match)) for table in where]
            found.append((CAUSES.index(cause), _of_threads(*tables)))
        for stage, cause in _STAGE_CAUSES.items():
            if stage in trace.stage_names:
                found.append((CAUSES.index(cause), _of_threads(trace.ranges.rows(trace.stage_ranges(stage)))))
        found.append((CAUSES.index("host_op"), _of_threads(trace.ops, trace.os)))
        found.append((CAUSES.index("python"), _of_threads(trace.ranges, trace.python)))
        return found

    @cached_property
    def _calls(self) -> dict[str, npt.NDArray[np.bool_]]:
        trace = self._trace

        def called(pattern: re.Pattern[str]) -> npt.NDArray[np.bool_]:
            return trace.named(trace.api, pattern.match)

        copies = called(COPY_CALL)
        pageable = np.zeros(len(trace.api), np.bool_)
        rows = (trace.gpu["kind"] == Kind.MEMCPY) & (trace.gpu["host_memory"] == HOST_MEMORY.index("pageable"))
        calls = trace.launched_by[rows]
        pageable[calls[calls >= 0]] = True
        return {
            "sync": called(SYNCHRONIZE),
            "memcpy": copies & (pageable | ~called(ASYNC_COPY_CALL)),
            "allocation": called(ALLOCATION),
            "module_load": called(MODULE_LOAD),
            "launch": called(KERNEL_LAUNCH) | called(GRAPH_LAUNCH) | copies | called(MEMSET_CALL),
        }

    def innermost_at(self, moment: int, thread: int) -> str | None:
        """Return the name of what was opened last and is still open, not counting plain Python calls."""
        trace, at = self._trace, np.array([moment])
        for candidate in (thread, trace.main_thread):
            open_rows = [
                (int(table["start_ns"][row]), trace.strings[table["name"][row]])
                for table in (trace.ranges, trace.ops, trace.os, trace.api)
                if (row := int(trace.innermost(table).at(np.array([candidate]), at)[0])) != NOTHING
            ]
            if open_rows:
                return max(open_rows, key=lambda row: row[0])[1]
        return None

    def python_at(self, moment: int, thread: int) -> str | None:
        """Return the innermost Python call of a thread, else of the main thread."""
        python = self._python_in_files
        inside = python.rows((python["start_ns"] <= moment) & (python.end_ns > moment))
        for candidate in (thread, self._trace.main_thread):
            calls = inside.rows(inside["thread"] == candidate)
            if len(calls):
                return self._trace.strings[calls["name"][np.argmax(calls["start_ns"])]]
        return None

    @cached_property
    def _python_in_files(self) -> Table:
        python = self._trace.python
        return python.rows(self._trace.named(python, IN_FILE.search))


IN_FILE = re.compile(r"\.py\(\d+\)")
"""Python calls with a file and line, unlike those of built-in methods."""


def _spans(table: Table) -> Spans:
    return Spans.merged(table["start_ns"], table.end_ns)


def _of_threads(*tables: Table) -> Tilings:
    """Return the time that rows of some tables cover, thread by thread."""
    thread, start, end = (
        np.concatenate(parts)
        for parts in zip(*((table["thread"], table["start_ns"], table.end_ns) for table in tables), strict=True)
    )
    return Tilings.merged(thread, start, end)


def _in_turn(lanes: Lanes, layer: Tilings, turns: Spans) -> Spans:
    """Return the time of a layer on the thread whose turn it is."""
    spans = Spans(lanes.place(layer.lane, layer.start), lanes.place(layer.lane, layer.end)) & turns
    start, end = lanes.times(spans.start), lanes.times(spans.end)
    order = np.argsort(start)
    return Spans(start[order], end[order])


@dataclass(frozen=True)
class GapsOfLength:
    """The gaps of one device whose length lies in one decade."""

    device: int
    from_ns: int
    to_ns: int | None
    gaps: int
    idle_ns: int


_DECADES_NS = (0, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


@dataclass(frozen=True)
class Idle:
    """The ledger of all devices."""

    causes: Rows[IdleCause]
    gaps: Rows[Gap]
    lengths: Rows[GapsOfLength]
    steps: tuple[Mapping[str, int], ...]
    """Idle time by cause in each step, over all devices, dearest first; without zeros."""


def attribute(trace: Trace) -> Idle:
    """Give every idle nanosecond of every device its cause, and describe the longest gaps."""
    host = trace.once(HostActivity)
    ledgers = [Ledger(trace, host, device) for device in trace.devices]
    causes = [cause for ledger in ledgers for cause in ledger.causes()]
    gaps = [gap for ledger, order in zip(ledgers, _longest(ledgers), strict=True) for gap in ledger.described(order)]
    by_step = sum((ledger.by_step() for ledger in ledgers), np.zeros((len(trace.steps), len(CAUSES)), np.int64))
    return Idle(
        causes=Rows(sorted(causes, key=lambda row: -row.idle_ns)),
        gaps=Rows(sorted(gaps, key=lambda row: -row.dur_ns)),
        lengths=Rows(length for ledger in ledgers for length in ledger.lengths()),
        steps=tuple(
            {CAUSES[cause]: int(row[cause]) for cause in np.argsort(-row, kind="stable") if row[cause]}
            for row in by_step
        ),
    )


def tile_driving(trace: Trace) -> Tiling:
    """Tile time by cause of the thread that drives the device."""
    return trace.once(HostActivity).driving()


def _longest(ledgers: Sequence[Ledger]) -> Iterator[Ns]:
    """Yield which gaps of each device are among the longest of all, the longest first."""
    dur = np.concatenate([np.empty(0, np.int64), *(ledger.gaps.dur for ledger in ledgers)])
    device = np.repeat(np.arange(len(ledgers)), [len(ledger.gaps) for ledger in ledgers])
    first = np.cumsum([0, *(len(ledger.gaps) for ledger in ledgers)])
    chosen = np.argsort(-dur, kind="stable")[:LONGEST]
    for number in range(len(ledgers)):
        yield chosen[device[chosen] == number] - first[number]


def loads_in_process(trace: Trace) -> bool:
    """Tell whether the program loads its batches itself: waiting for a worker takes no operators, loading does."""
    if "fetch" in trace.stage_names:
        return True
    if "dataload" not in trace.stage_names:
        return False
    if trace.named(trace.ranges, IN_PROCESS.search).any():
        return True
    waiting = trace.stage_tiling.spans_of(trace.stage_names.index("dataload"))
    mine = trace.ops.rows(trace.ops["thread"] == trace.main_thread)
    return (_spans(mine) & waiting).total_ns > _IN_PROCESS_SHARE * waiting.total_ns


IN_PROCESS = re.compile(r"_SingleProcess")
_IN_PROCESS_SHARE = 0.2
