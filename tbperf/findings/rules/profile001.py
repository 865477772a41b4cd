"""Recording slowed the steps down.

## What it means

The recorded steps took longer than those without the profiler. Figures of the host are too high by about that
factor.

## How it is measured

Median duration of profiled steps against steps without the profiler, from the step log of the same run; from 15 %
on.

## Why it costs

Each operator is written down. Small, many operators cost most. Device times are not affected, idle time is.

## What to change

- Record without `--stacks`, `--shapes`, `--memory` where they are not needed.

## Known false alarms

A run whose steps change in length by themselves.

## Example

Steps of 60 ms on the CPU: 20 % slower while recorded with stacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, window_ns
from tbperf.findings.thresholds import SLOWDOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Compare profiled steps with the others of the run."""
    steps = trace.run.steps.get(trace.phase or "") if trace.run else None
    if steps is None or steps.slowdown is None or steps.slowdown < SLOWDOWN:
        return
    cost = round(window_ns(trace, None) * (1 - 1 / steps.slowdown))
    evidence = (
        Evidence("profiled by unprofiled", steps.slowdown, "ratio"),
        Evidence("unprofiled step", steps.unprofiled_ns or 0, "ns"),
    )
    yield Saying(cost, evidence, (advise("record less: no stacks, shapes or memory"),), severity="info")
