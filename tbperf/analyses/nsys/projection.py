"""From the host to the device and back: what NVTX ranges asked the device for, and what a kernel waited for.

A range's projection runs from the first start to the last end of the device work that API calls inside the range, on
the same thread, have caused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.nsys.spread import Key, Spread, grouped, spread_by
from tbperf.analyses.nsys.sums import range_name
from tbperf.analyses.rows import Rows
from tbperf.intervals import Lanes, Minima, Tilings, distinct, rows_by
from tbperf.trace import RANGE_STYLES

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Trace

MOST_LEVELS = 50
"""Of ranges inside of each other, so many are told the kernels that the innermost one asked for."""

_PUSH_POP = RANGE_STYLES.index("push/pop")


@dataclass(frozen=True)
class Projections:
    """One row a push/pop range that asked for device work; arrays of equal length, in the order of the ranges table."""

    row: Ns
    """Of the ranges table."""
    start_ns: Ns
    """First start of device work."""
    end_ns: Ns
    """Last end of device work."""
    operations: Ns


@dataclass(frozen=True)
class Projection:
    """Ranges of one name, as they show on the device."""

    name: str
    ranges: int
    """Those that asked for device work."""
    range_ns: int
    """Their time on the host, summed."""
    operations: int
    """Kernels, copies and memsets that they asked for."""
    ns: Spread
    """Projected times, from first start to last end."""


@dataclass(frozen=True)
class RangeKernels:
    """Kernels of one name that ranges of one name and thread asked for."""

    range: str | None
    """Null for kernels that no range asked for."""
    thread: int | str
    """Id of the thread."""
    kernel: str
    ranges: int
    """Ranges that asked for one at least."""
    calls: int
    ns: Spread


@dataclass(frozen=True)
class Execution:
    """Kernels of one name, thread, call and device, from the call to the end; kernels without a call are left out."""

    device: int
    thread: int | str
    """Id of the thread that called."""
    api: str
    kernel: str
    calls: int
    queued_calls: int
    """Those that began when the call had ended."""
    total_ns: Spread
    """Start of the call to end of the kernel."""
    api_ns: Spread
    queue_ns: Spread | None
    """End of the call to start of the kernel, where that is not negative."""
    kernel_ns: Spread


def project(trace: Trace) -> Projections:
    """Project push/pop ranges onto the device."""
    api, ranges = trace.api, trace.ranges
    work = np.flatnonzero(trace.launched_by >= 0)
    call, rows = trace.launched_by[work], np.flatnonzero(ranges["style"] == _PUSH_POP)
    begin, end, starts, ends = api["start_ns"][call], api.end_ns[call], ranges["start_ns"][rows], ranges.end_ns[rows]
    lanes = Lanes(len(trace.threads), begin, end, starts, ends)
    begin, end = lanes.place(api["thread"][call], begin), lanes.place(api["thread"][call], end)
    order = np.argsort(begin, kind="stable")
    calls = _Calls(begin[order], end[order], trace.gpu["start_ns"][work[order]], trace.gpu.end_ns[work[order]])
    threads = ranges["thread"][rows]
    first, last, count = calls.within(lanes.place(threads, starts), lanes.place(threads, ends))
    found = count > 0
    return Projections(rows[found], first[found], last[found], count[found])


@dataclass(frozen=True)
class _Calls:
    """Calls that caused device work, by start, one entry a piece of work; times are places on lanes of threads."""

    begin: Ns
    end: Ns
    work_start: Ns
    work_end: Ns

    def within(self, starts: Ns, ends: Ns) -> tuple[Ns, Ns, Ns]:
        """Return first start, last end and number of pieces of work whose call lies inside of each range."""
        low = np.searchsorted(self.begin, starts, side="left")
        high = np.maximum(np.searchsorted(self.begin, ends, side="right"), low)
        first, last, count = np.full(low.shape, _LATEST), np.full(low.shape, -_LATEST), np.zeros(low.shape, np.int64)
        latest_ends, starts_of_work, ends_of_work = Minima(-self.end), Minima(self.work_start), Minima(-self.work_end)
        asked = np.arange(low.size)
        # From the last call on, stretch by stretch between calls that begin inside and end outside: the range was
        # closed under those.
        for _ in range(MOST_CALLS_ACROSS):
            across = latest_ends.last_at_most(high[asked], -ends[asked] - 1)
            begin = np.maximum(across + 1, low[asked])
            first[asked] = np.minimum(first[asked], starts_of_work.smallest(begin, high[asked]))
            last[asked] = np.maximum(last[asked], -ends_of_work.smallest(begin, high[asked]))
            count[asked] += high[asked] - begin
            high[asked] = np.maximum(across, low[asked])
            asked = asked[across > low[asked]]
            if not asked.size:
                break
        return first, last, count


MOST_CALLS_ACROSS = 64
"""Of calls that cross the end of a range so many are looked at; on one thread, they all are inside of each other."""
_LATEST = np.iinfo(np.int64).max


def _ranges_by_thread(trace: Trace) -> Iterator[tuple[int, Ns]]:
    rows = np.flatnonzero(trace.ranges["style"] == _PUSH_POP)
    for thread, mine in rows_by(trace.ranges["thread"][rows]):
        yield thread, rows[mine]


def sum_projections(traces: Sequence[Trace]) -> Rows[Projection]:
    """Sum projections by name of the range (nvtx_gpu_proj_sum)."""
    parts, facts = [], dict[Key, list[int]]()
    for trace in traces:
        found = project(trace)
        keys, at = _range_keys(trace, found.row)
        parts.append((keys, at, found.end_ns - found.start_ns))
        host = np.bincount(at, weights=trace.ranges["dur_ns"][found.row], minlength=len(keys)).astype(np.int64)
        work = np.bincount(at, weights=found.operations, minlength=len(keys)).astype(np.int64)
        for key, ns, count in zip(keys, host.tolist(), work.tolist(), strict=True):
            entry = facts.setdefault(key, [0, 0])
            entry[0] += ns
            entry[1] += count
    return Rows(Projection(str(key[0]), calls, facts[key][0], facts[key][1], ns) for key, calls, ns in grouped(parts))


def _range_keys(trace: Trace, rows: Ns) -> tuple[list[Key], Ns]:
    pairs, at = distinct(trace.ranges["name"][rows], trace.ranges["domain"][rows])
    return [(range_name(trace, name, domain),) for name, domain in pairs], at


def sum_kernels_by_innermost_range(traces: Sequence[Trace]) -> Rows[RangeKernels]:
    """Sum kernels by the innermost range that asked for them (cuda_gpu_kern_sum:nvtx-name)."""
    return _sum_range_kernels((trace, *_innermost(trace)) for trace in traces)


def sum_kernels_by_range(traces: Sequence[Trace]) -> Rows[RangeKernels]:
    """Sum kernels by every range that asked for them (nvtx_kern_sum): nested ranges have a row each."""
    return _sum_range_kernels((trace, *_around(trace)) for trace in traces)


def _innermost(trace: Trace) -> tuple[Ns, Ns]:
    """Return kernels with a call, and the row of the innermost range around the call; -1 where there is none."""
    kernels = np.flatnonzero(trace.kernels & (trace.launched_by >= 0))
    call = trace.launched_by[kernels]
    ranges = np.flatnonzero(trace.ranges["style"] == _PUSH_POP)
    inner = Tilings.innermost(
        trace.ranges["thread"][ranges], trace.ranges["start_ns"][ranges], trace.ranges.end_ns[ranges]
    )
    threads = trace.api["thread"][call] if call.size else call
    return kernels, inner.relabelled(ranges).at(threads, trace.api["start_ns"][call])


def _around(trace: Trace) -> tuple[Ns, Ns]:
    """Return kernels with a call and the rows of the ranges around it, the `MOST_LEVELS` innermost ones."""
    kernels, innermost = _innermost(trace)
    parents = _parents(trace)
    pairs, level = [(kernels, innermost)], np.where(innermost >= 0, parents[innermost], -1)
    for _ in range(MOST_LEVELS - 1):
        if not (level >= 0).any():
            break
        kernels, level = kernels[level >= 0], level[level >= 0]
        pairs.append((kernels, level))
        level = parents[level]
    return np.concatenate([k for k, _ in pairs]), np.concatenate([r for _, r in pairs])


def _parents(trace: Trace) -> Ns:
    """Return the range directly around each range of its thread; -1 where there is none."""
    found = np.full(max(1, len(trace.ranges)), -1, np.int64)
    for _, ranges in _ranges_by_thread(trace):
        start, end = trace.ranges["start_ns"][ranges], trace.ranges.end_ns[ranges]
        open_: list[tuple[int, int]] = []
        for index in np.lexsort((-end, start)).tolist():
            while open_ and open_[-1][0] < end[index]:
                open_.pop()
            found[ranges[index]] = open_[-1][1] if open_ else -1
            open_.append((int(end[index]), int(ranges[index])))
    return found


def _sum_range_kernels(found: Iterator[tuple[Trace, Ns, Ns]]) -> Rows[RangeKernels]:
    parts, instances = [], dict[Key, int]()
    for trace, kernels, ranges in found:
        thread = trace.api["thread"][trace.launched_by[kernels]]
        name = np.where(ranges >= 0, trace.ranges["name"][ranges] if len(trace.ranges) else -1, -1)
        domain = np.where(ranges >= 0, trace.ranges["domain"][ranges] if len(trace.ranges) else -1, -1)
        sorts, at = distinct(name, domain, thread, trace.gpu["name"][kernels])
        pid = trace.threads[0].pid if trace.threads else 0
        keys: list[Key] = [
            (None if n < 0 else range_name(trace, n, d), trace.threads[t].tid, trace.strings[k], pid)
            for n, d, t, k in sorts
        ]
        parts.append((keys, at, trace.gpu["dur_ns"][kernels]))
        for place, row in distinct(at, ranges)[0]:
            if row >= 0:
                instances[keys[place]] = instances.get(keys[place], 0) + 1
    return Rows(
        RangeKernels(_text(key[0]), _id(key[1]), str(key[2]), instances.get(key, 0), calls, ns)
        for key, calls, ns in grouped(parts)
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _id(value: object) -> int | str:
    return value if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Executions:
    """Each kernel with its call; arrays of equal length, in the order of the gpu table."""

    kernel: Ns
    """Row of the gpu table."""
    call: Ns
    """Row of the api table."""
    queue_ns: Ns
    """End of the call to start of the kernel; negative where the kernel began before."""
    total_ns: Ns


def follow(trace: Trace) -> Executions:
    """Follow every kernel from its call to its end (cuda_kern_exec_trace)."""
    kernel = np.flatnonzero(trace.kernels & (trace.launched_by >= 0))
    call = trace.launched_by[kernel]
    return Executions(
        kernel,
        call,
        trace.gpu["start_ns"][kernel] - trace.api.end_ns[call],
        trace.gpu.end_ns[kernel] - trace.api["start_ns"][call],
    )


def sum_executions(trace: Trace) -> Rows[Execution]:
    """Sum the ways of kernels by thread, device, call and kernel (cuda_kern_exec_sum)."""
    found = follow(trace)
    sorts, at = distinct(
        trace.gpu["device"][found.kernel],
        trace.api["thread"][found.call],
        trace.api["name"][found.call],
        trace.gpu["name"][found.kernel],
    )
    groups = len(sorts)
    queued = found.queue_ns >= 0
    total, api, kernel = (
        spread_by(at, values, groups)
        for values in (found.total_ns, trace.api["dur_ns"][found.call], trace.gpu["dur_ns"][found.kernel])
    )
    queue = spread_by(at[queued], found.queue_ns[queued], groups)
    listed = []
    for index, (device, thread, call, name) in enumerate(sorts):
        all_of = total[index][1], api[index][1], kernel[index][1]
        assert all_of[0] is not None  # noqa: S101 - a group has members
        assert all_of[1] is not None  # noqa: S101
        assert all_of[2] is not None  # noqa: S101
        listed.append(
            Execution(
                device=device,
                thread=trace.threads[thread].tid,
                api=trace.strings[call],
                kernel=trace.strings[name],
                calls=total[index][0],
                queued_calls=queue[index][0],
                total_ns=all_of[0],
                api_ns=all_of[1],
                queue_ns=queue[index][1],
                kernel_ns=all_of[2],
            )
        )
    return Rows(sorted(listed, key=lambda row: -row.total_ns.total))
