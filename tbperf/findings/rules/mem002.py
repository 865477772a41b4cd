"""GPU memory is hardly used.

## What it means

The run reserves less than 40 % of the device's memory: a larger batch fits.

## How it is measured

Peak of what is reserved, by the recorder's allocation events (`--memory`), in training.

## Why it costs

Larger batches use the device better, above all where it waits for the host (LAUNCH001).

## What to change

- `batch=-1` lets Ultralytics choose (60 % of the memory); `batch=0.8` sets the share.

## Known false alarms

A larger batch changes the training; scale the learning rate with it.

## Example

3.6 of 85 GB reserved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument
from tbperf.findings.thresholds import MEMORY_UNUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a training that uses little of its device's memory."""
    if trace.phase not in (None, "train"):
        return
    for row in trace.memory:
        reserved = row.peak_reserved_bytes or 0
        if row.device >= 0 and row.capacity_bytes and 0 < reserved < MEMORY_UNUSED * row.capacity_bytes:
            evidence = (Evidence("reserved", reserved, "B"), Evidence("memory", row.capacity_bytes, "B"))
            advice = (advise("use a larger batch", "batch", argument(trace, "batch"), -1),)
            device = row.device if any(row.device == d.device for d in trace.devices) else None
            yield Saying(0, evidence, advice, device, severity="info", confidence="low")
