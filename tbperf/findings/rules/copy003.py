"""Many tiny reads from the GPU.

## What it means

Values are read from the GPU one by one: `.item()`, `float(tensor)`, `if tensor > 0`, indexing a GPU tensor in
Python.

## How it is measured

Copies to the host of at most 4 kB, at least two a step, outside of the stage that logs. The run is replayed with their
calls, and the synchronization that follows each at once, not waiting; the cost is what the window shrinks by. Reported
from 2 % of the window on.

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
from tbperf.findings.finding import Evidence, advise, places_of_calls, waits_gain
from tbperf.findings.thresholds import READS_A_STEP, TINY_READS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for many small copies to the host."""
    steps = max(1, len(trace.steps))
    for device in trace.devices:
        rows = [r for r in trace.memcpy if r.device == device.device and r.copy_kind == "DtoH" and r.tiny_calls]
        count = sum(row.tiny_calls for row in rows)
        gain = waits_gain(trace, device.device, "reads")
        if gain is None or count < READS_A_STEP * steps or gain.high_ns < TINY_READS * device.window_ns:
            continue
        evidence = (
            Evidence("reads a step", count / steps, "calls"),
            Evidence("host time in them", sum(row.tiny_blocked_ns for row in rows), "ns"),
        )
        calls = [row for row in trace.syncs if row.op in READING] or [row for row in trace.syncs if row.stage != "log"]
        advice = (advise("read values of the GPU together, once a step"),)
        places = places_of_calls(calls)
        yield Saying(gain.high_ns, evidence, advice, device.device, gain, "medium", places=places)


READING = ("aten::item", "aten::_local_scalar_dense")
