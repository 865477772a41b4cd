"""GPU memory is nearly full.

## What it means

The caching allocator holds more than 90 % of the device's memory.

## How it is measured

Peak of what is reserved, by the recorder's allocation events (`--memory`), against the memory of the device.

## Why it costs

The next larger batch or image ends in «out of memory»; before that, the allocator frees and allocates again inside
the steps.

## What to change

- A smaller `batch` or `imgsz`; `amp=True`.
- `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True` against fragmentation.

## Known false alarms

The allocator keeps what it once got: the peak may lie in a validation with larger images.

## Example

37.1 of 40 GB reserved, 29.8 allocated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument
from tbperf.findings.thresholds import MEMORY_FULL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a device whose memory is nearly used up."""
    for row in trace.memory:
        if row.capacity_bytes and (row.peak_reserved_bytes or 0) > MEMORY_FULL * row.capacity_bytes:
            evidence = (
                Evidence("reserved", row.peak_reserved_bytes or 0, "B"),
                Evidence("allocated", row.peak_allocated_bytes or 0, "B"),
                Evidence("memory", row.capacity_bytes, "B"),
            )
            batch = argument(trace, "batch")
            less = batch // 2 if isinstance(batch, int) and batch > 1 else None
            advice = (advise("use less memory a step", "batch", batch, less),)
            device = row.device if any(row.device == d.device for d in trace.devices) else None
            yield Saying(0, evidence, advice, device, severity="info")
