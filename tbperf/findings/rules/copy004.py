"""Blocking copy calls.

## What it means

A copy call without `Async` (`cudaMemcpy`, `hipMemcpyWithStream`) makes the host wait until the data has arrived.

## How it is measured

Copies asked for by blocking calls. The run is replayed with calls that copy not waiting for the data; the cost is what
the window shrinks by, reported from 2 % of the window on.

## Why it costs

The host can launch nothing meanwhile; the device idles when the copy is done.

## What to change

- `tensor.to(device, non_blocking=True)` from pinned memory.
- Copy constants to the GPU once, before the loop.

## Known false alarms

ROCm uses `hipMemcpyWithStream` for ordinary `.to(device)` of pageable memory: see COPY001.

## Example

A table of anchors copied to the GPU in every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, places_of_copies, waits_gain
from tbperf.findings.thresholds import BLOCKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for blocking copies that leave the device idle."""
    for device in trace.devices:
        rows = [
            r for r in trace.memcpy if r.device == device.device and r.blocking_calls and r.host_memory != "pageable"
        ]
        gain = waits_gain(trace, device.device, "copies")
        if rows and gain is not None and gain.high_ns >= BLOCKING * device.window_ns:
            evidence = (
                Evidence("blocking copies", sum(row.blocking_calls for row in rows), "calls"),
                Evidence("moved", sum(row.bytes or 0 for row in rows), "B"),
                Evidence("sizes copied again and again", sum(row.repeated_sizes for row in rows), "sizes"),
            )
            advice = (advise("copy without blocking, from pinned memory", "non_blocking", False, True),)
            places = places_of_copies(trace, device.device, lambda copy: copy.blocking)
            yield Saying(gain.high_ns, evidence, advice, device.device, gain, "medium", places=places)
