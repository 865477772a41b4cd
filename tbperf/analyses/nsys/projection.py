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
from tbperf.intervals import Tiling, distinct
from tbperf.trace import RANGE_STYLES

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Trace

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
    work = np.flatnonzero(trace.launched_by >= 0)
    call = trace.launched_by[work]
    rows, firsts, lasts, counts = [], [], [], []
    for thread, ranges in _ranges_by_thread(trace):
        mine = work[trace.api["thread"][call] == thread]
        of = trace.launched_by[mine]
        begins, ends = trace.api["start_ns"][of], trace.api.end_ns[of]
        order = np.argsort(begins, kind="stable")
        inside = _Calls(begins[order], ends[order], trace.gpu["start_ns"][mine[order]], trace.gpu.end_ns[mine[order]])
        first, last, count = inside.within(trace.ranges["start_ns"][ranges], trace.ranges.end_ns[ranges])
        found = count > 0
        rows.append(ranges[found])
        firsts.append(first[found])
        lasts.append(last[found])
        counts.append(count[found])
    nothing = [np.empty(0, np.int64)]
    row = np.concatenate(rows or nothing)
    order = np.argsort(row)
    return Projections(row[order], *(np.concatenate(part or nothing)[order] for part in (firsts, lasts, counts)))


@dataclass(frozen=True)
class _Calls:
    """Calls of one thread that caused device work, by start; one entry a piece of work."""

    begin: Ns
    end: Ns
    work_start: Ns
    work_end: Ns

    def within(self, starts: Ns, ends: Ns) -> tuple[Ns, Ns, Ns]:
        """Return first start, last end and number of pieces of work whose call lies inside of each range."""
        low = np.searchsorted(self.begin, starts, side="left")
        high = np.maximum(np.searchsorted(self.begin, ends, side="right"), low)
        if not self.begin.size:
            return low, low, low
        first, last = _extremes(self.work_start, low, high, np.minimum), _extremes(self.work_end, low, high, np.maximum)
        count = high - low
        beyond = np.flatnonzero((count > 0) & (_extremes(self.end, low, high, np.maximum) > ends))
        for index in beyond.tolist():  # a call that begins inside and ends outside: the range was closed under it
            part = slice(int(low[index]), int(high[index]))
            keep = self.end[part] <= ends[index]
            count[index] = keep.sum()
            if keep.any():
                first[index], last[index] = self.work_start[part][keep].min(), self.work_end[part][keep].max()
        return first, last, count


def _extremes(values: Ns, low: Ns, high: Ns, function: np.ufunc) -> Ns:
    """Return the smallest or largest value of each stretch; any value for empty stretches."""
    padded = np.append(values, values[-1])
    edges = np.column_stack([low, np.maximum(high, low)]).ravel()
    found: Ns = function.reduceat(padded, np.minimum(edges, len(values)))[::2]
    return found


def _ranges_by_thread(trace: Trace) -> Iterator[tuple[int, Ns]]:
    rows = np.flatnonzero(trace.ranges["style"] == _PUSH_POP)
    for thread in np.unique(trace.ranges["thread"][rows]).tolist():
        yield thread, rows[trace.ranges["thread"][rows] == thread]


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
    found = np.full(len(kernels), -1, np.int64)
    for thread, ranges in _ranges_by_thread(trace):
        mine = np.flatnonzero(trace.api["thread"][call] == thread)
        inner = Tiling.innermost(trace.ranges["start_ns"][ranges], trace.ranges.end_ns[ranges])
        at = inner.at(trace.api["start_ns"][call[mine]])
        found[mine] = np.where(at >= 0, ranges[at], -1)
    return kernels, found


def _around(trace: Trace) -> tuple[Ns, Ns]:
    """Return kernels with a call and the rows of all ranges around it: as many pairs as there are."""
    kernels, innermost = _innermost(trace)
    parents = _parents(trace)
    pairs, level = [(kernels, innermost)], np.where(innermost >= 0, parents[innermost], -1)
    while (level >= 0).any():
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
