"""Most kernels are tiny.

## What it means

More than half of the kernels run for less than 10 µs: about as long as it takes to launch one.

## How it is measured

Kernels shorter than 10 µs by count, where they are at least half of all. The cost is what the replay saves without
these kernels and the operators that launch nothing else (without a replay: the idle time with the causes `launch`,
`host_op` and `python`), from 5 % of the window on.

## Why it costs

Between tiny kernels there is always a gap; the device does more starting than working.

## What to change

- `compile=True`: elementwise chains become one kernel.
- A larger `batch`.
- Fused optimizers (`optimizer=AdamW` with `fused`), newer Ultralytics.

## Known false alarms

Many tiny kernels that take little time behind a full queue: then the replay saves little, and nothing is reported.

## Example

Optimizer and EMA updates of YOLOv8n: hundreds of kernels of 2 µs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument, gain_of, idle_ns, places_of_idle, share
from tbperf.findings.thresholds import TINY_COST, TINY_KERNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for devices whose kernels are mostly tiny and take time that fewer, larger ones would not."""
    for device in trace.devices:
        tiny = sum(row.tiny_calls for row in trace.families if row.device == device.device)
        idle = idle_ns(trace, device.device, "launch", "host_op", "python")
        gain = gain_of(trace, device.device, "tiny kernels")
        cost = gain.high_ns if gain else idle
        if tiny < TINY_KERNELS * max(1, device.kernels) or cost < TINY_COST * device.window_ns:
            continue
        evidence = (
            Evidence("kernels below 10 µs", share(tiny, device.kernels), "share"),
            Evidence("kernels a step", device.kernels / max(1, len(trace.steps)), "kernels"),
            Evidence("idle between launches", idle, "ns"),
        )
        advice = (advise("fuse small kernels", "compile", argument(trace, "compile"), True),)
        places = places_of_idle(trace, device.device, "launch", "host_op", "python")
        yield Saying(cost, evidence, advice, device.device, gain, "medium", places=places)
