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
from tbperf.intervals import NOTHING, Spans, Tiling, sum_by
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
    from collections.abc import Iterator

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

_LAUNCH, _QUEUED, _UNKNOWN = (CAUSES.index(name) for name in ("launch", "queued", "unknown"))

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
        for number in np.unique(thread).tolist():
            mine = np.flatnonzero((thread == number) & (begins > self.gaps.start))
            parts.append(self._before_the_call(number, mine, begins))
        joined = _Pieces(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Pieces)))
        return joined.where(joined.end > joined.start)

    def _before_the_call(self, thread: int, gaps: Ns, begins: Ns) -> _Pieces:
        before = Spans(self.gaps.start[gaps], begins[gaps])
        tiling = self._host.causes(thread).within(before)
        silent = Tiling.first_of([(_UNKNOWN, before - tiling.spans())])
        start = np.r_[tiling.start, silent.start]
        which = np.searchsorted(before.start, start, side="right") - 1
        return _Pieces(
            gaps[which],
            np.r_[tiling.label, silent.label],
            start,
            np.r_[tiling.end, silent.end],
            np.full(start.size, thread),
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

    def longest(self, count: int) -> Iterator[Gap]:
        """Describe the longest gaps."""
        order = np.argsort(-self.gaps.dur, kind="stable")[:count]
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
        self._tilings: dict[int, Tiling] = {}

    def causes(self, thread: int) -> Tiling:
        """Tile a thread's time by cause; where it has nothing open, by what the main thread was doing."""
        if thread not in self._tilings:
            layers = list(self._layers(thread))
            if thread != self._trace.main_thread:
                layers += self._layers(self._trace.main_thread)
            self._tilings[thread] = Tiling.first_of(layers)
        return self._tilings[thread]

    def driving(self) -> Tiling:
        """Tile time by cause of the thread that drives the device: the one that launches next."""
        trace = self._trace
        calls = np.unique(trace.launched_by)
        calls = calls[calls >= 0]
        calls = calls[np.argsort(trace.api["start_ns"][calls], kind="stable")]
        thread = trace.api["thread"][calls]
        numbers = np.unique(thread).tolist()
        if len(numbers) < 2:  # noqa: PLR2004 - nobody to take turns with
            return self.causes(int(numbers[0]) if numbers else trace.main_thread)
        until = trace.api.end_ns[calls]
        since = np.r_[np.iinfo(np.int64).min // 2, np.maximum.accumulate(until)[:-1]]
        parts = [self.causes(n).within(Spans.merged(since[thread == n], until[thread == n])) for n in numbers]
        start = np.concatenate([part.start for part in parts])
        order = np.argsort(start, kind="stable")
        end, label = (np.concatenate([getattr(part, what) for part in parts])[order] for what in ("end", "label"))
        return Tiling(start[order], end, label)

    def _layers(self, thread: int) -> Iterator[tuple[int, Spans]]:
        trace = self._trace
        of_cuda = {cause: trace.named(trace.overhead, name.match) for cause, name in OVERHEAD_OF_CUDA.items()}
        mine = trace.overhead["thread"] == thread
        yield CAUSES.index("profiler"), _spans(trace.overhead.rows(~np.logical_or.reduce([*of_cuda.values()])))
        api = trace.api.rows(trace.api["thread"] == thread)
        for cause in ("sync", "memcpy", "allocation", "module_load", "launch"):
            mask = self._calls[cause][trace.api["thread"] == thread]
            spans = _spans(api.rows(mask))
            if cause in of_cuda:
                spans |= _spans(trace.overhead.rows(of_cuda[cause] & mine))
            if cause == "module_load":
                spans |= self._compiling(thread)
            yield CAUSES.index(cause), spans
        ranges = trace.ranges.rows(trace.ranges["thread"] == thread)
        for stage, cause in _STAGE_CAUSES.items():
            if stage in trace.stage_names:
                open_stage = self._stage_open[stage][trace.ranges["thread"] == thread]
                yield CAUSES.index(cause), _spans(ranges.rows(open_stage))
        yield (
            CAUSES.index("host_op"),
            _spans(trace.ops.rows(trace.ops["thread"] == thread)) | _spans(trace.os.rows(trace.os["thread"] == thread)),
        )
        yield (
            CAUSES.index("python"),
            _spans(ranges) | _spans(trace.python.rows(trace.python["thread"] == thread)),
        )

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

    @cached_property
    def _stage_open(self) -> dict[str, npt.NDArray[np.bool_]]:
        return {stage: self._trace.stage_ranges(stage) for stage in _STAGE_CAUSES}

    def _compiling(self, thread: int) -> Spans:
        found = Spans.empty()
        for table in (self._trace.ops, self._trace.ranges, self._trace.python):
            rows = self._trace.named(table, COMPILATION.match)
            found |= _spans(table.rows(rows & (table["thread"] == thread)))
        return found

    def innermost_at(self, moment: int, thread: int) -> str | None:
        """Return the name of what was opened last and is still open, not counting plain Python calls."""
        trace, at = self._trace, np.array([moment])
        for candidate in (thread, trace.main_thread):
            open_rows = [
                (int(table["start_ns"][row]), trace.strings[table["name"][row]])
                for table in (trace.ranges, trace.ops, trace.os, trace.api)
                if (row := int(trace.innermost(table, candidate).at(at)[0])) != NOTHING
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
    gaps = [gap for ledger in ledgers for gap in ledger.longest(LONGEST)]
    by_step = sum((ledger.by_step() for ledger in ledgers), np.zeros((len(trace.steps), len(CAUSES)), np.int64))
    return Idle(
        causes=Rows(sorted(causes, key=lambda row: -row.idle_ns)),
        gaps=Rows(sorted(gaps, key=lambda row: -row.dur_ns)[:LONGEST]),
        lengths=Rows(length for ledger in ledgers for length in ledger.lengths()),
        steps=tuple(
            {CAUSES[cause]: int(row[cause]) for cause in np.argsort(-row, kind="stable") if row[cause]}
            for row in by_step
        ),
    )


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
