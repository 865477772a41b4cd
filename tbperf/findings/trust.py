"""What makes the figures of a report incomplete or less exact than usual: it stands above everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.words import format_bytes, format_ms, format_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.analyses.examine import TraceReport

NOTICED = 0.02
"""Slowdowns below this are not told from the scatter of the steps."""
LINKED_SHARE = 0.95
"""Below this share of device work with its launch in the trace, causes and stages are known for a part only."""
DROPPED_SHARE = 0.001
"""Of the events; fewer are told with what was seen, not as a caution."""
COARSE_NS = 1000
"""Steps of the timestamps above this blur short kernels and gaps."""


def cautions(traces: Sequence[TraceReport]) -> Iterator[str]:
    """Say what a reader must know before trusting the figures, the gravest first."""
    for trace in traces:
        of = f"{_name(trace)}: " if len(traces) > 1 else ""
        if trace.truncated:
            yield f"{of}the file is cut short; the figures hold for what is there"
        dropped = sum(trace.dropped.values())
        if dropped >= DROPPED_SHARE * max(1, trace.events):
            reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in trace.dropped.items())
            yield f"{of}{dropped:,} of {trace.events + dropped:,} events could not be used: {reasons}"
        if trace.linked_share is not None and trace.linked_share < LINKED_SHARE:
            yield (
                f"{of}only {format_share(trace.linked_share)} of the GPU work is linked to its launch:"
                " causes of idle time and stages are known for that part"
            )
        yield from (f"{of}the recorder warns: {warning}" for warning in trace.warnings)
        if trace.resolution_ns > COARSE_NS:
            yield f"{of}times come in steps of {trace.resolution_ns / 1000:g} µs"
        if more := next((row for row in trace.left_out if row.table == "devices"), None):
            yield f"{of}the work of {more.rows:,} more GPUs is left out: {format_ms(more.cost)} in all"
        if idle_steps := sum(step.busy_ns == 0 for step in trace.steps):
            yield f"{of}{idle_steps} of {len(trace.steps)} steps hold no GPU work"
    yield from _missing_ranks(traces)


def about_left_out(trace: TraceReport) -> Iterator[str]:
    """Say what the tables of a report do not hold because there is too much of it, one list each."""
    for row in trace.left_out:
        cost = format_bytes(row.cost) if row.unit == "B" else format_ms(row.cost)
        counted = f" (counted in {row.counted_in})" if row.counted_in else ""
        yield f"{row.rows:,} more {_ROWS.get(row.table, row.table.replace('_', ' '))}, {cost} in all{counted}"


_ROWS = {
    "devices": "GPUs",
    "memory": "devices with allocations",
    "syncs": "waiting calls by stage and operator",
    "allocations": "allocating calls by stage and operator",
    "operator_shapes": "operators by inputs",
    "loader_work": "sorts of the loader's work",
    "threads_at_once": "numbers of threads at once",
}
"""What the rows of a list are, where its name does not say it."""


def about_profiling(trace: TraceReport) -> str | None:
    """Say by how much recording slowed the steps, and what holds without it; None where nothing tells."""
    found = trace.unprofiled
    if found is None:
        return None
    if abs(found.slowdown - 1) < NOTICED:
        return f"Recording did not slow the steps: {format_ms(found.step_ns)} without the profiler."
    if found.slowdown < 1:
        others = format_ms(found.step_ns)
        return f"What recording costs cannot be told: the recorded steps were faster than the others ({others})."
    without = f"without the profiler a step takes {format_ms(found.step_ns)}"
    idle = max(found.devices, key=lambda row: row.idle_ns, default=None)
    if idle is not None:
        name = f"GPU {idle.device}" if len(found.devices) > 1 else "the GPU"
        without += f", and {name} idles about {format_share(idle.idle_share)} of it"
    return f"Recording slowed the steps by {format_share(found.slowdown - 1)}: {without}."


def _missing_ranks(traces: Sequence[TraceReport]) -> Iterator[str]:
    expected = max((trace.world_size or 0 for trace in traces), default=0)
    found = {trace.rank for trace in traces if trace.rank is not None}
    if expected > 1 and found and len(found) < expected:
        missing = [rank for rank in range(expected) if rank not in found]
        shown = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        yield f"{len(found)} of {expected} ranks are here; missing: {shown}"


_SHOWN = 8


def _name(trace: TraceReport) -> str:
    phase = f"{trace.phase} " if trace.phase else ""
    return f"{phase}rank {trace.rank}" if trace.rank is not None else trace.path.rpartition("/")[2]
