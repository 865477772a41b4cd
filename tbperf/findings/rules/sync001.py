"""The host waits for the GPU inside the step.

## What it means

A call in the step returns only when the GPU has finished: `torch.cuda.synchronize()`, `.cpu()`, `nonzero()`. Then the
queue is empty, and the GPU waits for the next launches.

## How it is measured

The run is replayed with every waiting call (synchronizations, copies that return when the data is there) returning
at once; the cost is what the window shrinks by. Waits that read small values (COPY003), log the step (SYNC002) or copy
(COPY001, COPY004) are told there. Reported from 3 % of the window on, with at least one such call a step.

## Why it costs

While the host waits it launches nothing. The wait itself is no idle time, which is why profilers do not show it;
the idle time comes after it.

## What to change

- Keep losses and metrics on the GPU and read them every 50 steps.
- `verbose=False`, or a progress bar that is written less often (SYNC002).
- `non_blocking=True` with pinned memory for copies (COPY001).

## Known false alarms

Where the host is far slower than the GPU, a wait costs nothing: the replay says so, and nothing is reported.

## Example

A benchmark that calls `torch.cuda.synchronize()` after each layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, places_of_calls, waits_gain
from tbperf.findings.thresholds import WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for waits whose removal shortens the run."""
    calls = [row for row in trace.syncs if row.in_steps and row.stage != "log" and row.op not in READING]
    count = sum(row.in_steps for row in calls)
    if count < max(1, len(trace.steps)):
        return
    for device in trace.devices:
        gain = waits_gain(trace, device.device, "sync")
        if gain is None or gain.high_ns < WAITING * device.window_ns:
            continue
        top = calls[0]
        evidence = (
            Evidence("synchronizing calls a step", count / max(1, len(trace.steps)), "calls"),
            Evidence("host time in them", sum(row.host_ns for row in calls), "ns"),
        )
        where = f"{top.api} in {top.op or 'Python'}" + (f", stage {top.stage}" if top.stage else "")
        action = f"do not wait for the GPU inside the step: {where}"
        places = places_of_calls(calls)
        yield Saying(gain.high_ns, evidence, (advise(action),), device.device, gain, "medium", places=places)


READING = ("aten::item", "aten::_local_scalar_dense")
"""Operators that read one value: COPY003 tells of them."""
