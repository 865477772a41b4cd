"""Blocking copy calls.

## What it means

A copy call without `Async` (`cudaMemcpy`, `hipMemcpyWithStream`) makes the host wait until the data has arrived.

## How it is measured

Copies asked for by blocking calls, and the idle time whose cause is `memcpy`; from 2 % of the window on.

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
from tbperf.findings.finding import Evidence, advise, gain_of, idle_ns, places_of_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.02


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for blocking copies that leave the device idle."""
    for device in trace.devices:
        rows = [
            r for r in trace.memcpy if r.device == device.device and r.blocking_calls and r.host_memory != "pageable"
        ]
        cost = idle_ns(trace, device.device, "memcpy")
        if rows and cost >= SHARE * device.window_ns:
            evidence = (Evidence("blocking copies", sum(row.blocking_calls for row in rows), "calls"),)
            advice = (advise("copy without blocking, from pinned memory", "non_blocking", False, True),)
            yield Saying(
                cost,
                evidence,
                advice,
                device.device,
                gain_of(trace, device.device, "memcpy"),
                "medium",
                places=places_of_idle(trace, device.device, "memcpy"),
            )
