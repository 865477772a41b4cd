"""Memory is allocated inside the steps.

## What it means

`cudaMalloc`, `cudaFree` or host allocations happen in steady steps. PyTorch's caching allocator makes them only
when it has no block that fits.

## How it is measured

Allocation calls inside marked steps; idle time with cause `allocation`, from 1 % of the window on.

## Why it costs

`cudaFree` waits for all work of the device. Each call takes 0.1–1 ms.

## What to change

- Do not call `torch.cuda.empty_cache()` in the loop.
- Batches of one size (`rect=False`), so that blocks can be used again.
- `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`.

## Known false alarms

The first two or three steps, in which the allocator fills: record later ones.

## Example

`empty_cache()` after every batch: 12 ms of each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, gain_of, idle_ns, places_of_idle
from tbperf.findings.thresholds import ALLOCATING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for allocation calls in steps that leave the device idle."""
    calls = [row for row in trace.allocations if row.in_steps or not trace.steps]
    for device in trace.devices:
        cost = idle_ns(trace, device.device, "allocation")
        if not calls or cost < ALLOCATING * device.window_ns:
            continue
        steps = max(1, len(trace.steps))
        evidence = (
            Evidence("allocation calls a step", sum(row.calls for row in calls) / steps, "calls"),
            Evidence("host time in them", sum(row.host_ns for row in calls), "ns"),
        )
        advice = (
            advise("do not empty the cache in the loop"),
            advise("let segments grow", "PYTORCH_CUDA_ALLOC_CONF", None, "expandable_segments:True"),
        )
        yield Saying(
            cost,
            evidence,
            advice,
            device.device,
            gain_of(trace, device.device, "allocation"),
            places=places_of_idle(trace, device.device, "allocation"),
        )
