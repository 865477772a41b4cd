"""What `nsys analyze` looks for, by NVIDIA's definitions and with NVIDIA's thresholds unless others are given.

All but the gaps are lists of single operations, the longest first; their place is where to look.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import Spans
from tbperf.trace import COPY_KINDS, HOST_MEMORY, NONE, Kind

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace

GAP_NS = 500_000_000
"""NVIDIA's idea of a long gap: hundreds of YOLO steps fit into it."""
CHUNKS = 30
LOW_SHARE = 0.5
SMALL_COPY_BYTES = 64_000
"""A copy to the device up to this size goes into the driver's own buffer, so that its call need not wait."""

_FLUSH = re.compile(r"\A.*\bflush", re.IGNORECASE)
"""Overhead that keeps the device from being fed; the profiler's start is not counted."""
_ASYNC_COPY = re.compile(r"\A(?:cuda(?:Memcpy|MemcpyPeer)\w*Async\b|cuMemcpy\w*Async)")
_COPY = re.compile(r"cu(?:da)?Memcpy")
_MEMSET = re.compile(r"cu(?:da)?Memset")
_SYNCHRONIZE = re.compile(r"cuda(?:Device|Stream)Synchronize")


@dataclass(frozen=True)
class IdleSpan:
    """A stretch in which a device had neither work nor the profiler's flushing to blame."""

    device: int
    start_ns: int
    dur_ns: int


@dataclass(frozen=True)
class LowUse:
    """Neighbouring chunks of a device's time in which it was used little."""

    device: int
    start_ns: int
    dur_ns: int
    use: float
    """Durations of all operations, and of the profiler's flushing, by its length; more than 1 where they overlap."""


@dataclass(frozen=True)
class MemoryOperation:
    """A copy or memset that holds something up."""

    device: int
    stream: int
    start_ns: int
    dur_ns: int
    bytes: int | None
    copy_kind: str | None
    """Null for a memset."""
    host_memory: str | None
    api: str
    """The call that asked for it."""


@dataclass(frozen=True)
class SyncCall:
    """A call that waits for all work of a device or stream."""

    thread: int | str
    start_ns: int
    dur_ns: int
    api: str


def find_gaps(trace: Trace, longer_than_ns: int = GAP_NS) -> Rows[IdleSpan]:
    """Return stretches between a device's first and last work in which nothing ran (gpu_gaps)."""
    flush = _flushing(trace)
    profiler = Spans.merged(flush["start_ns"], flush.end_ns)
    found = []
    for device in trace.devices:
        gaps = (trace.busy[device] | profiler).gaps(*trace.windows[device])
        long = gaps.dur > longer_than_ns
        found += [
            IdleSpan(device, start, end - start)
            for start, end in zip(gaps.start[long].tolist(), gaps.end[long].tolist(), strict=True)
        ]
    return Rows(sorted(found, key=lambda row: (-row.dur_ns, row.device, row.start_ns)))


def _flushing(trace: Trace) -> Table:
    return trace.overhead.rows(trace.named(trace.overhead, _FLUSH.match))


def find_low_use(trace: Trace, share: float = LOW_SHARE, chunks: int = CHUNKS) -> Rows[LowUse]:
    """Cut each device's time into chunks and return where it is used little, neighbours joined (gpu_time_util)."""
    found: list[LowUse] = []
    for device in trace.devices:
        begin, end = trace.windows[device]
        width = -(-(end - begin) // chunks)
        if not width:
            continue
        edges = np.minimum(begin + width * np.arange(chunks + 1, dtype=np.int64), end)
        edges = edges[: int(np.searchsorted(edges, end)) + 1]
        used = _time_in(trace, device, edges)
        low = used < share * np.diff(edges)
        opens = np.flatnonzero(low & ~np.r_[False, low[:-1]])
        closes = np.flatnonzero(low & ~np.r_[low[1:], False]) + 1
        for first, last in zip(opens.tolist(), closes.tolist(), strict=True):
            length = int(edges[last] - edges[first])
            found.append(LowUse(device, int(edges[first]), length, int(used[first:last].sum()) / length))
    return Rows(sorted(found, key=lambda row: (row.use, -row.dur_ns)))


def _time_in(trace: Trace, device: int, edges: Ns) -> Ns:
    """Return the durations of all operations and of flushing between each two edges, summed."""
    work, flush = trace.gpu.rows(trace.gpu["device"] == device), _flushing(trace)
    start = np.sort(np.r_[work["start_ns"], flush["start_ns"]])
    end = np.sort(np.r_[work.end_ns, flush.end_ns])

    def begun_before(times: Ns, moments: Ns) -> Ns:
        """Return how long ago each of some moments was, summed over those before each time."""
        count = np.searchsorted(moments, times)
        total: Ns = count * times - np.r_[0, np.cumsum(moments)][count]
        return total

    spent: Ns = begun_before(edges - edges[0], start - edges[0]) - begun_before(edges - edges[0], end - edges[0])
    return np.diff(spent)


def find_pageable_async_copies(trace: Trace) -> Rows[MemoryOperation]:
    """Return copies from or to pageable memory by asynchronous calls, which block all the same (cuda_memcpy_async)."""
    pageable = trace.gpu["host_memory"] == HOST_MEMORY.index("pageable")
    return _asked_by(trace, (trace.gpu["kind"] == Kind.MEMCPY) & pageable, lambda name: bool(_ASYNC_COPY.match(name)))


def find_blocking_copies(trace: Trace) -> Rows[MemoryOperation]:
    """Return copies by blocking calls, but for small ones to the device and those inside of one (cuda_memcpy_sync)."""
    gpu = trace.gpu
    small = (gpu["copy_kind"] == COPY_KINDS.index("HtoD")) & (gpu["bytes"] <= SMALL_COPY_BYTES)
    exempt = small | (gpu["copy_kind"] == COPY_KINDS.index("DtoD"))
    return _asked_by(
        trace,
        (gpu["kind"] == Kind.MEMCPY) & ~exempt,
        lambda name: bool(_COPY.match(name)) and not _ASYNC_COPY.match(name),
    )


def find_blocking_memsets(trace: Trace) -> Rows[MemoryOperation]:
    """Return memsets of pinned or managed memory by blocking calls (cuda_memset_sync)."""
    memory = np.isin(trace.gpu["host_memory"], [HOST_MEMORY.index(word) for word in ("pinned", "managed")])
    return _asked_by(
        trace,
        (trace.gpu["kind"] == Kind.MEMSET) & memory,
        lambda name: bool(_MEMSET.match(name)) and "Async" not in name,
    )


def find_syncs(trace: Trace) -> Rows[SyncCall]:
    """Return calls that wait for a device or stream (cuda_api_sync)."""
    rows = trace.api.rows(trace.named(trace.api, _SYNCHRONIZE.match))
    found = [
        SyncCall(trace.threads[thread].tid, start, dur, trace.strings[name])
        for thread, start, dur, name in zip(
            *(rows[column].tolist() for column in ("thread", "start_ns", "dur_ns", "name")), strict=True
        )
    ]
    return Rows(sorted(found, key=lambda row: (-row.dur_ns, row.start_ns)))


def _asked_by(trace: Trace, rows: np.ndarray, accepts: Callable[[str], bool]) -> Rows[MemoryOperation]:
    accepted = trace.named(trace.api, accepts)
    chosen = np.flatnonzero(rows & (trace.launched_by >= 0))
    chosen = chosen[accepted[trace.launched_by[chosen]]] if len(trace.api) else chosen[:0]
    gpu, found = trace.gpu, []
    for row in chosen[np.lexsort((gpu["start_ns"][chosen], -gpu["dur_ns"][chosen]))].tolist():
        size, kind, memory = (int(gpu[column][row]) for column in ("bytes", "copy_kind", "host_memory"))
        found.append(
            MemoryOperation(
                device=int(gpu["device"][row]),
                stream=int(gpu["stream"][row]),
                start_ns=int(gpu["start_ns"][row]),
                dur_ns=int(gpu["dur_ns"][row]),
                bytes=None if size == NONE else size,
                copy_kind=None if kind == NONE else COPY_KINDS[kind],
                host_memory=None if memory == NONE else HOST_MEMORY[memory],
                api=trace.strings[trace.api["name"][trace.launched_by[row]]],
            )
        )
    return Rows(found)
