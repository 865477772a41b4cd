"""Steps, and the stages inside them: how long each took on the host, and what it asked of the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import Spans, Tiling, Tilings, distinct, sum_by
from tbperf.trace import StepAccount

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace


@dataclass(frozen=True)
class Step:
    """One step of the program (``ProfilerStep#n``), on the host's time line."""

    step: int
    start_ns: int
    dur_ns: int
    busy_ns: int | None
    """Time of the step in which any device was busy; null without device work in the trace."""
    idle_ns: int | None
    stage: Mapping[str, int] = field(default_factory=dict)
    """Time by innermost stage, without what no stage names."""
    cause: Mapping[str, int] = field(default_factory=dict)
    """Idle time by cause, summed over devices; what lies outside of their windows has none."""
    work: Mapping[str, int] = field(default_factory=dict)
    """What the host did with the step, by sort of work, the dearest first; it sums to ``dur_ns``."""
    images: int | None = None
    """Null where it was not recorded."""
    cpu_ns: int | None = None
    """Processor time of the process in it, all threads together; null where it was not recorded."""


@dataclass(frozen=True)
class Stage:
    """One named phase of the program, over all steps (over the whole trace where no steps are marked)."""

    stage: str | None
    """Null for time that no stage names."""
    calls: int
    host_ns: int
    """Time in which this was the innermost stage."""
    share: float
    """Of the time of all steps; the shares sum to 1."""
    op_ns: int
    """Part of ``host_ns`` in which any thread was inside a framework operator or a call of the runtime; the rest is
    Python and waiting."""
    gpu_ns: int | None
    """Durations of device work that was launched in it, on any thread."""
    idle_ns: int | None
    """Idle time of the devices while it was the innermost stage."""
    longest_ns: int
    """Its longest stretch without another stage in between."""
    longest_start_ns: int
    """Where that began."""
    work: Mapping[str, int] = field(default_factory=dict)
    """What the host did in it, by sort of work, the dearest first; it sums to ``host_ns``."""
    most_ns: int | None = None
    """Its time in the step in which it took most; null without steps."""
    most_step: int | None = None


def list_steps(trace: Trace) -> Rows[Step]:
    """Measure each step."""
    steps = trace.steps
    busy = Spans.empty()
    for spans in trace.busy.values():
        busy |= spans
    inside = busy.total_within(steps.start_ns, steps.end_ns).tolist()
    known = bool(trace.devices)
    tiling = trace.stage_tiling.within(Spans(steps.start_ns, steps.end_ns))
    by_stage = _stages_of_steps(trace, steps.at(tiling.start), tiling)
    accounts = [trace.accounts.get(number, StepAccount()) for number in steps.number.tolist()]
    return Rows(
        Step(
            step=number,
            start_ns=start,
            dur_ns=end - start,
            busy_ns=ns if known else None,
            idle_ns=end - start - ns if known else None,
            stage=stages,
            images=account.images,
            cpu_ns=account.cpu_ns,
        )
        for number, start, end, ns, stages, account in zip(
            steps.number.tolist(),
            steps.start_ns.tolist(),
            steps.end_ns.tolist(),
            inside,
            by_stage,
            accounts,
            strict=True,
        )
    )


def _stages_of_steps(trace: Trace, step: Ns, tiling: Tiling) -> list[dict[str, int]]:
    """Return the time of each step by stage, in the stages' order, without zeros."""
    pairs, at = distinct(step, tiling.label)
    total = sum_by(at, tiling.end - tiling.start, len(pairs)).tolist()
    found: list[dict[str, int]] = [{} for _ in range(len(trace.steps))]
    for (index, label), ns in sorted(zip(pairs, total, strict=True)):
        found[index][trace.stage_names[label]] = ns
    return found


def list_stages(trace: Trace) -> Rows[Stage]:
    """Split the time of all steps among stages."""
    window = host_window(trace)
    labels = len(trace.stage_names)
    tiling = trace.stage_tiling.within(window)
    host = tiling.total_ns_by_label(labels)
    first, last = int(window.start[0]), int(window.end[-1])
    in_ops = Spans.merged(trace.ops["start_ns"], trace.ops.end_ns)
    in_ops = (in_ops | Spans.merged(trace.api["start_ns"], trace.api.end_ns)) & window
    ops = tiling.within(in_ops).total_ns_by_label(labels)
    idle = np.zeros(labels, np.int64)
    total_idle = 0
    for device in trace.devices:
        begin, end = trace.windows[device]
        gaps = trace.busy[device].gaps(max(begin, first), min(end, last)) & window
        idle += tiling.within(gaps).total_ns_by_label(labels)
        total_idle += gaps.total_ns
    inside = (trace.gpu_launch_ns >= first) & (trace.gpu_launch_ns < last)
    gpu = sum_by(trace.gpu_stage[inside] + 1, trace.gpu["dur_ns"][inside], labels + 1)
    known = bool(trace.devices)
    longest = _longest_pieces(tiling, labels)
    most = _most_by_step(trace.once(list_steps))
    calls = trace.stage_calls(first, last).tolist()
    found = [
        Stage(
            stage=name,
            calls=calls[label],
            host_ns=int(host[label]),
            share=int(host[label]) / window.total_ns,
            op_ns=int(ops[label]),
            gpu_ns=int(gpu[label + 1]) if known else None,
            idle_ns=int(idle[label]) if known else None,
            longest_ns=longest[label][0],
            longest_start_ns=longest[label][1],
            most_ns=most.get(name, (None, None))[0],
            most_step=most.get(name, (None, None))[1],
        )
        for label, name in enumerate(trace.stage_names)
        if host[label] or gpu[label + 1]
    ]
    unnamed = window.total_ns - int(host.sum())
    silent = window - tiling.spans()
    gap = int(silent.dur.argmax()) if len(silent) else None
    rest = Stage(
        stage=None,
        calls=0,
        host_ns=unnamed,
        share=unnamed / window.total_ns,
        op_ns=in_ops.total_ns - int(ops.sum()),
        gpu_ns=int(gpu[0]) if known else None,
        idle_ns=total_idle - int(idle.sum()) if known else None,
        longest_ns=0 if gap is None else int(silent.dur[gap]),
        longest_start_ns=0 if gap is None else int(silent.start[gap]),
    )
    found = sorted(found, key=lambda row: -row.host_ns)
    return Rows([*found, rest] if rest.host_ns or rest.gpu_ns else found)


def _most_by_step(steps: Rows[Step]) -> dict[str, tuple[int | None, int | None]]:
    """Return for each stage its time in the step in which it took most, and that step."""
    found: dict[str, tuple[int | None, int | None]] = {}
    for step in steps:
        for name, ns in step.stage.items():
            if ns > (found.get(name, (0, None))[0] or 0):
                found[name] = ns, step.step
    return found


def _longest_pieces(tiling: Tiling, labels: int) -> list[tuple[int, int]]:
    """Return for each label the length and the start of its longest piece; zeros where it has none."""
    found = np.zeros((labels, 2), np.int64)
    order = np.argsort(tiling.end - tiling.start, kind="stable")
    found[tiling.label[order]] = np.stack([tiling.end - tiling.start, tiling.start], axis=1)[order]
    return [(length, start) for length, start in found.tolist()]


def host_window(trace: Trace) -> Spans:
    """Return the time of all steps or, where none are marked, from the first to the last host event."""
    return trace.once(_host_window)


def time_of_threads(trace: Trace, rows: Table, window: Spans) -> list[int]:
    """Return for each thread the time of a window that some of its events cover."""
    busy = Tilings.merged(rows["thread"], rows["start_ns"], rows.end_ns)
    covered: list[int] = sum_by(busy.lane, window.total_within(busy.start, busy.end), len(trace.threads)).tolist()
    return covered


def _host_window(trace: Trace) -> Spans:
    if len(trace.steps):
        return Spans.merged(trace.steps.start_ns, trace.steps.end_ns)
    tables = [table for table in (trace.ops, trace.api, trace.ranges.rows(~trace.loading)) if len(table)]
    if not tables:
        return Spans.empty()
    return Spans.one(
        min(int(table["start_ns"].min()) for table in tables),
        max(int(table.end_ns.max()) for table in tables),
    )
