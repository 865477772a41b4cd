"""Collectives that no compute hides.

## What it means

The GPU exchanges data with others, and nothing else runs meanwhile.

## How it is measured

`exposed_comm_ns` of the partition: collectives (NCCL, RCCL) without a kernel beside them; from 5 % of the window
on.

## Why it costs

Gradients can be exchanged while the backward pass still runs. What is left over after it, or waits for a slower
rank, is lost. The gain is that of the replay with collectives taking half their time, and none.

## What to change

- A larger `batch` per GPU: the same bytes for more work.
- One process a GPU (DDP), never `DataParallel`.
- Look at the ranks: the one with the shortest collectives is the one that the others wait for.

## Known false alarms

The collectives at the start of a window wait for ranks that began to record later.

## Example

`ncclKernel_AllReduce_RING_LL_Sum_float`: 46.8 ms of three steps on an A100, most of it after the backward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument, gain_of, places_of_kernels
from tbperf.findings.thresholds import EXCHANGE, WORTH_TRYING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for exposed collectives."""
    for device in trace.devices:
        cost = device.exposed_comm_ns
        if cost < EXCHANGE * device.window_ns:
            continue
        gain = gain_of(trace, device.device, "collectives")
        if gain is not None and gain.high_ns < WORTH_TRYING * device.window_ns:
            continue
        rows = [row for row in trace.collectives if row.device == device.device]
        evidence = (
            Evidence("collectives", sum(row.calls for row in rows), "calls"),
            Evidence("time in them", sum(row.total_ns for row in rows), "ns"),
            Evidence("exposed", cost / max(1, sum(row.total_ns for row in rows)), "share"),
        )
        batch = argument(trace, "batch")
        advice = (
            advise("more work between exchanges", "batch", batch, 2 * batch if isinstance(batch, int) else None),
            advise("compare the ranks: analyze their traces together"),
        )
        places = places_of_kernels(trace, device.device, lambda kernel: kernel.family == "collective")
        yield Saying(cost, evidence, advice, device.device, gain, "medium", places=places)
