"""How many threads worked at once, and how many cores that took, against those that were there.

A trace shows what threads did in operators; threads inside one operator (torch's intra-op pool) it does not show.  For
those there are the processor time of each step, which the recorder asks the system for, and the load of each core.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.hardware import summarize_hardware
from tbperf.analyses.host import WAITING, WORK, host_tiling
from tbperf.analyses.rows import Rows
from tbperf.analyses.steps import host_window
from tbperf.intervals import Tilings, sum_by

if TYPE_CHECKING:
    from tbperf.intervals import Ns, Spans
    from tbperf.trace import Trace

IN_PROCESS = "loader"
"""The thread under which a trace shows what the program loads itself: no thread of its own."""


@dataclass(frozen=True)
class ThreadsAtOnce:
    """The time in which so many threads worked at once."""

    threads: int
    """The program's loop unless it waited, other threads in operators, loader workers preparing a batch."""
    host_ns: int
    share: float
    """Of the time of all steps; the shares sum to 1."""


@dataclass(frozen=True)
class Cores:
    """What the program used of the processor while the steps ran; null where it was not recorded."""

    threads: int
    """Threads that the trace shows at work, loader workers included."""
    mean_threads: float
    """Of these at once, on average."""
    intra_op_threads: int | None
    """Threads that torch may use inside one operator; a trace does not show them."""
    usable_cores: float | None
    """Cores that the process may use: its affinity, and the quota of its container."""
    machine_cores: int | None
    used_cores: float | None
    """Processor time of the process by time of the steps: cores in use on average, without loader workers."""
    loader_cores: float
    """Loader workers at work at once, on average."""
    machine_used_cores: float | None
    """The same of all programs on the machine, as sampled."""
    main_cpu_ns: int | None
    """Processor time of the thread that runs the loop."""
    main_queued_ns: int | None
    """Time in which that thread was ready to run, and other threads had the cores."""


def count_threads(trace: Trace) -> Rows[ThreadsAtOnce]:
    """Split the time of all steps by how many threads worked at once."""
    window = host_window(trace)
    level, dur = _levels(trace.once(_working), window)
    total = sum_by(level, dur, int(level.max(initial=0)) + 1)
    found = [
        ThreadsAtOnce(threads=threads, host_ns=int(ns), share=int(ns) / window.total_ns)
        for threads, ns in enumerate(total.tolist())
        if ns
    ]
    return Rows.first(found, lambda row: row.host_ns)


def measure_cores(trace: Trace) -> Cores:
    """Hold the threads and cores that the program used against those that are there."""
    window = host_window(trace)
    spans = trace.once(_working)
    inside = window.total_within(spans.start, spans.end)
    working = dict(enumerate(sum_by(spans.lane, inside, len(trace.threads)).tolist()))
    loaders = [ns for thread, ns in working.items() if trace.threads[thread].name.startswith("loader worker")]
    told = trace.recording.get("threads")
    threads = told if isinstance(told, dict) else {}
    hardware = trace.run.hardware if trace.run else {}
    machine, intra_op = _number(hardware.get("cores")), _number(threads.get("intra_op"))
    limits = [
        _number(hardware.get("core_quota")),
        _number(threads.get("usable_cores")) or _number(hardware.get("usable_cores")),
    ]
    return Cores(
        threads=sum(ns > 0 for ns in working.values()),
        mean_threads=sum(working.values()) / window.total_ns,
        intra_op_threads=None if intra_op is None else int(intra_op),
        usable_cores=min((limit for limit in limits if limit), default=None),
        machine_cores=None if machine is None else int(machine),
        used_cores=_used(trace),
        loader_cores=sum(loaders) / window.total_ns,
        machine_used_cores=_machine_used(trace, machine),
        main_cpu_ns=_accounted(trace, "main_cpu_ns"),
        main_queued_ns=_accounted(trace, "main_queued_ns"),
    )


def _working(trace: Trace) -> Tilings:
    """Return when each thread worked."""
    tiling = trace.once(host_tiling)
    works = ~np.isin(tiling.label, [WORK.index(work) for work in (*WAITING, "unknown")])
    main = trace.main_thread
    beside = np.array([thread.tid != IN_PROCESS for thread in trace.threads], np.bool_)
    beside[main : main + 1] = False
    thread, start, end = [np.full(int(works.sum()), main)], [tiling.start[works]], [tiling.end[works]]
    for table in (trace.ops, trace.ranges.rows(trace.loading)):
        mine = beside[table["thread"]]
        thread.append(table["thread"][mine])
        start.append(table["start_ns"][mine])
        end.append(table.end_ns[mine])
    return Tilings.merged(np.concatenate(thread), np.concatenate(start), np.concatenate(end))


def _levels(spans: Tilings, window: Spans) -> tuple[Ns, Ns]:
    """Return how many of the threads work in each piece of the window, and the length of the pieces."""
    moments = np.concatenate([window.start, window.end, spans.start, spans.end])
    ones = np.ones(len(spans.start), np.int64)
    change = np.concatenate([np.zeros(2 * len(window), np.int64), ones, -ones])
    order = np.argsort(moments, kind="stable")
    at = moments[order]
    level = np.cumsum(change[order])[:-1]
    covered = window.total_within(at[:-1], at[1:])
    return level[covered > 0], covered[covered > 0]


def _accounted(trace: Trace, what: str) -> int | None:
    """Sum what the log says of the recorded steps; None where it does not tell of each."""
    told = [getattr(trace.accounts.get(number), what, None) for number in trace.steps.number.tolist()]
    known = [ns for ns in told if ns is not None]
    return sum(known) if known and len(known) == len(told) else None


def _used(trace: Trace) -> float | None:
    spent = _accounted(trace, "cpu_ns")
    return None if spent is None else spent / host_window(trace).total_ns


def _machine_used(trace: Trace, cores: float | None) -> float | None:
    if cores is None or not trace.has("samples"):
        return None
    load = next((row for row in trace.once(summarize_hardware) if row.series == "cpu_percent"), None)
    return None if load is None else load.mean / 100 * cores


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else None
