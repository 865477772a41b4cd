"""How work reaches the device, and which calls make the host wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import NOTHING
from tbperf.trace import NONE
from tbperf.trace.names import ALLOCATION, GRAPH_LAUNCH, KERNEL_LAUNCH, MODULE_LOAD, SYNCHRONIZE

if TYPE_CHECKING:
    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Trace


@dataclass(frozen=True)
class Percentiles:
    """A distribution of durations in nanoseconds; the nearest value that was seen."""

    p50: int
    p90: int
    p99: int
    max: int


@dataclass(frozen=True)
class Launches:
    """Launches of kernels and graphs."""

    calls: int
    graph_calls: int
    host_ns: int
    """Time that the host spent in these calls."""
    unmatched_kernels: int
    """Kernels without a record of their launch; they count as device time all the same."""
    unmatched_launches: int
    """Launches whose kernel the trace does not hold."""
    queue_ns: Percentiles | None
    """Call end → kernel start, where positive."""
    latency_ns: Percentiles | None
    """Call start → kernel start."""
    mean_queue_depth: float | None
    """Kernels launched and not yet started, averaged over the window of the devices."""
    starved_kernels: int
    """Kernels that began within 20 µs of the end of their launch on a device with nothing to do: the host was late."""
    starved_ns: int
    """Idle time that these kernels ended."""


@dataclass(frozen=True)
class Calls:
    """Calls of one API function in one stage and operator."""

    api: str
    calls: int
    host_ns: int
    longest_ns: int
    longest_start_ns: int
    stage: str | None
    op: str | None
    """The innermost framework operator or, where there is none, annotation around the call."""
    in_steps: int
    """Calls inside steps that the recorder marked."""


def count_launches(trace: Trace) -> Launches:
    """Measure the way from launch calls to kernels."""
    graphs = trace.named(trace.api, GRAPH_LAUNCH.match)
    launches = graphs | trace.named(trace.api, KERNEL_LAUNCH.match)
    kernels = np.flatnonzero(trace.kernels)
    call = trace.launched_by[kernels]
    linked = kernels[call >= 0]
    call = call[call >= 0]
    start = trace.gpu["start_ns"][linked]
    queue = start - trace.api.end_ns[call]
    gap_before = _gaps_before(trace, linked)
    late = (gap_before > 0) & (queue < _AT_ONCE_NS)
    window = sum(end - begin for begin, end in trace.windows.values())
    used = np.zeros(len(trace.api), np.bool_)
    rows = trace.launched_by
    used[rows[rows >= 0]] = True
    return Launches(
        calls=int(launches.sum()),
        graph_calls=int(graphs.sum()),
        host_ns=int(trace.api["dur_ns"][launches].sum()),
        unmatched_kernels=int((trace.launched_by[kernels] == NONE).sum()),
        unmatched_launches=int((launches & ~used).sum()),
        queue_ns=percentiles(queue[queue >= 0]),
        latency_ns=percentiles(start - trace.api["start_ns"][call]),
        mean_queue_depth=float(np.maximum(queue, 0).sum()) / window if window and linked.size else None,
        starved_kernels=int(late.sum()),
        starved_ns=int(gap_before[late].sum()),
    )


_AT_ONCE_NS = 20_000


def _gaps_before(trace: Trace, rows: Ns) -> Ns:
    """Return how long the device had been idle when each of some rows of the gpu table began; 0 where it was busy."""
    found = np.zeros(rows.shape, np.int64)
    device = trace.gpu["device"][rows]
    for number, busy in trace.busy.items():
        mine = np.flatnonzero(device == number)
        start = trace.gpu["start_ns"][rows[mine]]
        span = np.searchsorted(busy.start, start)
        opens = (span > 0) & (span < len(busy))
        at = np.minimum(span, len(busy) - 1)
        opens &= busy.start[at] == start
        found[mine] = np.where(opens, start - busy.end[np.maximum(at - 1, 0)], 0)
    return found


def percentiles(values: Ns) -> Percentiles | None:
    """Summarize durations; None without any."""
    if not values.size:
        return None
    p50, p90, p99 = map(int, np.percentile(values, (50, 90, 99), method="nearest"))
    return Percentiles(p50, p90, p99, int(values.max()))


def find_syncs(trace: Trace) -> Rows[Calls]:
    """Sum synchronizing calls."""
    return _sum_calls(trace, trace.named(trace.api, SYNCHRONIZE.match))


def find_allocations(trace: Trace) -> Rows[Calls]:
    """Sum calls that allocate, free or register memory: the caching allocator makes them in its first steps only."""
    return _sum_calls(trace, trace.named(trace.api, ALLOCATION.match))


def find_module_loads(trace: Trace) -> Rows[Calls]:
    """Sum calls that load kernels' code."""
    return _sum_calls(trace, trace.named(trace.api, MODULE_LOAD.match))


def _sum_calls(trace: Trace, where: npt.NDArray[np.bool_]) -> Rows[Calls]:
    rows = np.flatnonzero(where)
    start = trace.api["start_ns"][rows]
    inside = trace.steps.at(start) != NOTHING
    keys = zip(
        trace.api["name"][rows].tolist(),
        trace.stage_tiling.at(start).tolist(),
        trace.innermost_names(rows).tolist(),
        strict=True,
    )
    sums: dict[tuple[int, int, int], list[int]] = {}
    durations = trace.api["dur_ns"][rows].tolist()
    for key, begin, dur, in_step in zip(keys, start.tolist(), durations, inside.tolist(), strict=True):
        entry = sums.setdefault(key, [0, 0, 0, -1, 0])
        entry[0] += 1
        entry[1] += dur
        entry[2] += in_step
        if dur > entry[3]:
            entry[3:] = dur, begin
    found = [
        Calls(
            api=trace.strings[api],
            calls=calls,
            host_ns=ns,
            longest_ns=longest,
            longest_start_ns=begin,
            stage=trace.stage_name(label),
            op=None if op == NOTHING else trace.strings[op],
            in_steps=in_steps,
        )
        for (api, label, op), (calls, ns, in_steps, longest, begin) in sums.items()
    ]
    return Rows(sorted(found, key=lambda row: -row.host_ns))
