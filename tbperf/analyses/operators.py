"""Framework operators on the host: what each costs by itself, and how busy the threads are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.kernels import stage_times
from tbperf.analyses.rows import Rows
from tbperf.analyses.steps import host_window
from tbperf.intervals import NOTHING, Spans, sum_by

if TYPE_CHECKING:
    from tbperf.trace import Trace


@dataclass(frozen=True)
class Operator:
    """The calls of one operator, on all threads."""

    name: str
    calls: int
    self_ns: int
    """Host time in it and in no operator that it calls."""
    total_ns: int
    """Durations of its calls, including what they call; calls of itself inside itself count again."""
    share: float
    """Of the self time of all operators; the shares sum to 1."""
    gpu_ns: int | None
    """Durations of device work launched while it was the innermost operator."""
    stage: Mapping[str, int] = field(default_factory=dict)
    """Self time by stage."""


@dataclass(frozen=True)
class HostThread:
    """One thread of the recorded process."""

    thread: str
    main: bool
    busy_ns: int
    """Time of the steps (or of the trace, without steps) in which it was inside an operator."""
    share: float
    """Of that time."""


def sum_operators(trace: Trace) -> Rows[Operator]:
    """Sum operators by name."""
    ops, texts = trace.ops, len(trace.strings.texts)
    stages = len(trace.stage_names) + 1
    self_ns = np.zeros(texts, np.int64)
    by_stage: Counter[int] = Counter()
    gpu_ns = np.zeros(texts, np.int64)
    for thread in np.unique(ops["thread"]).tolist():
        tiling = trace.innermost(ops, thread)
        name = ops["name"][tiling.label].astype(np.int64)
        dur = tiling.end - tiling.start
        self_ns += sum_by(name, dur, texts)
        key, at = np.unique(name * stages + trace.stage_tiling.at(tiling.start) + 1, return_inverse=True)
        by_stage.update(dict(zip(key.tolist(), sum_by(at, dur, len(key)).tolist(), strict=True)))
        called = np.flatnonzero(trace.launched_by >= 0)
        called = called[trace.api["thread"][trace.launched_by[called]] == thread]
        inside = tiling.at(trace.gpu_launch_ns[called])
        gpu_ns += sum_by(
            ops["name"][inside[inside != NOTHING]].astype(np.int64),
            trace.gpu["dur_ns"][called[inside != NOTHING]],
            texts,
        )
    calls = np.bincount(ops["name"], minlength=texts)
    total = sum_by(ops["name"], ops["dur_ns"], texts)
    whole = max(1, int(self_ns.sum()))
    found = [
        Operator(
            name=trace.strings[code],
            calls=int(calls[code]),
            self_ns=int(self_ns[code]),
            total_ns=int(total[code]),
            share=int(self_ns[code]) / whole,
            gpu_ns=int(gpu_ns[code]) if trace.devices else None,
            stage=stage_times(trace, [by_stage[code * stages + label] for label in range(stages)]),
        )
        for code in np.flatnonzero(calls).tolist()
    ]
    return Rows(sorted(found, key=lambda row: -row.self_ns))


def measure_threads(trace: Trace) -> Rows[HostThread]:
    """Measure how busy each thread is with operators."""
    window = host_window(trace)
    found = []
    for thread in np.unique(trace.ops["thread"]).tolist():
        rows = trace.ops.rows(trace.ops["thread"] == thread)
        busy = (Spans.merged(rows["start_ns"], rows.end_ns) & window).total_ns
        about = trace.threads[thread]
        found.append(
            HostThread(
                thread=about.name or f"thread {about.tid}",
                main=thread == trace.main_thread,
                busy_ns=busy,
                share=busy / window.total_ns,
            )
        )
    return Rows(sorted(found, key=lambda row: -row.busy_ns))
