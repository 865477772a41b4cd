"""Many tiny reads from the GPU.

## What it means

Values are read from the GPU one by one: `.item()`, `float(tensor)`, `if tensor > 0`, indexing a GPU tensor in
Python.

## How it is measured

Copies to the host of at most 4 kB, at least two a step; the cost is the time that the host spends in their calls
and in the synchronization that follows each at once. Reported from 1 % of the window on.

## Why it costs

Each read waits for all work before it, then for a copy of a few bytes, and the queue runs empty.

## What to change

- Read many values at once: stack them on the GPU, copy once.
- Decide on the GPU (`torch.where`) instead of in Python.

## Known false alarms

Reads at the end of a step that has to synchronize anyway.

## Example

Twelve 4-byte DtoH copies in a step of 22 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, gain_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.01
A_STEP = 2


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for many small copies to the host."""
    steps = max(1, len(trace.steps))
    for device in trace.devices:
        rows = [r for r in trace.memcpy if r.device == device.device and r.copy_kind == "DtoH" and r.tiny_calls]
        count = sum(row.tiny_calls for row in rows)
        cost = sum(row.tiny_blocked_ns for row in rows)
        waits = gain_of(trace, device.device, "synchronizing")
        if waits is not None:  # a wait for work that had to be done anyway costs nothing
            cost = min(cost, waits.high_ns)
        if count < A_STEP * steps or cost < SHARE * device.window_ns:
            continue
        evidence = (
            Evidence("reads a step", count / steps, "calls"),
            Evidence("host time in them", cost, "ns"),
        )
        gain = Gain(0, cost) if waits else None
        yield Saying(cost, evidence, (advise("read values of the GPU together, once a step"),), device.device, gain)
