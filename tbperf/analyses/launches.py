"""How work reaches the device, and which calls make the host wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import NOTHING, Spans
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
    calls_per_s: float | None
    """Launches by second of the window."""
    depth: tuple[float, ...]
    """Kernels launched and not yet started, averaged over each fiftieth of the window of the devices."""
    bound_stretches: int
    """Stretches of at least 16 kernels in a row that each found the device idle: launching is what limits them."""
    bound_ns: int
    """Their length, summed."""
    bound_longest_ns: int
    bound_longest_start_ns: int


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
    idle_after_ns: int
    """Idle time of the devices from the end of each call to the next work; of calls that end in one gap, only once."""


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
    stretches = _bound_stretches(trace, linked, late)
    longest = int(stretches.dur.argmax()) if len(stretches) else 0
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
        calls_per_s=int(launches.sum()) * 1e9 * len(trace.windows) / window if window else None,
        depth=_depth(trace, trace.api.end_ns[call], start),
        bound_stretches=len(stretches),
        bound_ns=stretches.total_ns,
        bound_longest_ns=int(stretches.dur[longest]) if len(stretches) else 0,
        bound_longest_start_ns=int(stretches.start[longest]) if len(stretches) else 0,
    )


_AT_ONCE_NS = 20_000
_SLICES = 50
_IN_A_ROW = 16


def _depth(trace: Trace, launched: Ns, started: Ns) -> tuple[float, ...]:
    """Return how many kernels wait to start, averaged over slices of the time of all devices."""
    waits = started > launched
    if not waits.any():
        return ()
    first, last = min(s for s, _ in trace.windows.values()), max(e for _, e in trace.windows.values())
    edges = np.linspace(first, last, _SLICES + 1).astype(np.int64)
    begins, ends = np.sort(launched[waits]), np.sort(started[waits])

    def before(moments: Ns, edges: Ns) -> npt.NDArray[np.float64]:
        """Sum the time from each moment to each edge behind it."""
        total = np.r_[0.0, np.cumsum(moments, dtype=np.float64)]
        count = np.searchsorted(moments, edges)
        sums: npt.NDArray[np.float64] = edges.astype(np.float64) * count - total[count]
        return sums

    waiting = np.diff(before(begins, edges) - before(ends, edges))
    return tuple(np.round(waiting / np.maximum(1, np.diff(edges)), 3).tolist())


def _bound_stretches(trace: Trace, rows: Ns, late: npt.NDArray[np.bool_]) -> Spans:
    """Return the stretches in which kernel after kernel found its device idle."""
    found = Spans.empty()
    for device in trace.devices:
        mine = np.flatnonzero(trace.gpu["device"][rows] == device)
        mine = mine[np.argsort(trace.gpu["start_ns"][rows[mine]], kind="stable")]
        edge = np.flatnonzero(np.diff(np.r_[False, late[mine], False].astype(np.int8)))
        begin, end = edge[::2], edge[1::2]
        long = end - begin >= _IN_A_ROW
        start = trace.gpu["start_ns"][rows[mine[begin[long]]]]
        found |= Spans.merged(start, trace.gpu.end_ns[rows[mine[end[long] - 1]]])
    return found


def _gaps_before(trace: Trace, rows: Ns) -> Ns:
    """Return how long the device had been idle when each of some rows of the gpu table began; 0 where it was busy."""
    found = np.zeros(rows.shape, np.int64)
    device = trace.gpu["device"][rows]
    for number, busy in trace.busy.items():
        if not len(busy):  # all work of the device is without length
            continue
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


def _idle_after(trace: Trace, moments: Ns) -> Ns:
    """Return the idle time of the devices from each moment on, up to the next work or the next of the moments."""
    found = np.zeros(moments.shape, np.int64)
    order = np.argsort(moments, kind="stable")
    following = np.r_[moments[order][1:], np.iinfo(np.int64).max]
    for device in trace.devices:
        gaps = trace.busy[device].gaps(*trace.windows[device])
        if not len(gaps):
            continue
        at = np.maximum(np.searchsorted(gaps.start, moments[order], side="right") - 1, 0)
        until = np.minimum(gaps.end[at], following)
        inside = (gaps.start[at] <= moments[order]) & (moments[order] < gaps.end[at])
        found[order] += np.where(inside, until - moments[order], 0)
    return found


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
    idle_after = _idle_after(trace, trace.api.end_ns[rows]).tolist()
    facts = zip(keys, start.tolist(), durations, inside.tolist(), idle_after, strict=True)
    for key, begin, dur, in_step, idle in facts:
        entry = sums.setdefault(key, [0, 0, 0, 0, -1, 0])
        entry[0] += 1
        entry[1] += dur
        entry[2] += in_step
        entry[3] += idle
        if dur > entry[4]:
            entry[4:] = dur, begin
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
            idle_after_ns=idle,
        )
        for (api, label, op), (calls, ns, in_steps, idle, longest, begin) in sums.items()
    ]
    return Rows.first(sorted(found, key=lambda row: -row.host_ns), lambda row: row.host_ns)
