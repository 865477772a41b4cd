"""Unified memory moves back and forth.

## What it means

Managed memory is moved between host and device page by page, whenever the other side touches it.

## How it is measured

Copies of managed memory (Nsight Systems shows them) in which no kernel runs, from 2 % of the window on. The gain is
that of the replay with them taking half their time, and none.

## Why it costs

A kernel that touches a page on the other side stops until it has come. Pages are small, so the link is used badly.

## What to change

- Ordinary device memory, with copies that you ask for; or `cudaMemPrefetchAsync` before the kernel.
- PyTorch uses no managed memory by itself: look for the library that does.

## Known false alarms

The first touch of memory that stays on the device afterwards.

## Example

A RAPIDS data frame that is read by the host after every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, exposed_ns, gain_of, places_of_copies
from tbperf.findings.thresholds import MIGRATED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for copies of managed memory."""
    for device in trace.devices:
        rows = [row for row in trace.memcpy if row.device == device.device and row.host_memory == "managed"]
        cost = exposed_ns(trace, device.device, rows)
        if rows and cost >= MIGRATED * device.window_ns:
            evidence = (
                Evidence("migrations", sum(row.calls for row in rows), "calls"),
                Evidence("moved", sum(row.bytes or 0 for row in rows), "B"),
            )
            advice = (advise("prefetch, or allocate on the device (cudaMemPrefetchAsync, cudaMalloc)"),)
            places = places_of_copies(trace, device.device, lambda copy: copy.host_memory == "managed")
            gain = gain_of(trace, device.device, "migrations") or Gain(cost // 2, cost)
            yield Saying(cost, evidence, advice, device.device, gain, "medium", places=places)
