"""One kernel dominates.

## What it means

A single kernel takes a large part of the GPU's time. What it does decides how fast the run can be.

## How it is measured

The kernels of one name, from 30 % of the kernel time of a device that is busy at least half of its window.

## Why it costs

Everything else can be free and the run would still take that long.

## What to change

- Look up its family, shapes (record with `--shapes`) and module (`--stacks`).
- A softmax or normalization of this size is usually unfused: use the framework's fused attention or `compile=True`.
- Convolutions: `amp=True`, channels_last, sizes that are multiples of 8.

## Known false alarms

A model that is one large operation.

## Example

`cunn_SoftMaxForward` with 47.6 % of the kernel time of OWLv2 on an H100: attention without a fused kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Place, advise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.30
BUSY_SHARE = 0.5


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a kernel with a large share of a busy device."""
    for device in trace.devices:
        top = next((row for row in trace.kernels if row.device == device.device), None)
        if top is None or top.share < SHARE or device.busy_ns < BUSY_SHARE * device.window_ns:
            continue
        evidence = (
            Evidence("share of the kernel time", top.share, "share"),
            Evidence("calls", top.calls, "calls"),
            Evidence("mean", top.mean_ns, "ns"),
        )
        advice = (advise(f"find a faster way for this {top.family} kernel, or a fused one"),)
        yield Saying(
            top.total_ns,
            evidence,
            advice,
            device.device,
            None,
            "low",
            title=f"One {top.family} kernel dominates",
            places=(Place(top.longest_start_ns, top.max_ns, top.name),),
        )
