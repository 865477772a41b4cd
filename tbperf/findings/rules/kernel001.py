"""One kernel dominates.

## What it means

A single kernel takes a large part of the GPU's time. What it does decides how fast the run can be.

## How it is measured

The kernels of one name that no other finding tells of (COMM001, KERNEL003–005), from 30 % of the kernel time of a
device that is busy at least half of its window. The gain is that of the replay with them 1.25 and 2 times faster.

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
from tbperf.findings.finding import Evidence, Place, advise, at_once, gain_of
from tbperf.findings.thresholds import DOMINANT, DOMINANT_BUSY, WORTH_TRYING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


TOLD_ELSEWHERE = ("collective", "layout", "fill", "cast and copy")
"""Families of COMM001, KERNEL003, KERNEL004 and KERNEL005."""


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a kernel with a large share of a busy device; collectives are told by COMM001."""
    for device in trace.devices:
        rows = [row for row in trace.kernels if row.device == device.device and row.family not in TOLD_ELSEWHERE]
        if not rows or rows[0].share < DOMINANT or device.busy_ns < DOMINANT_BUSY * device.window_ns:
            continue
        top = rows[0]
        evidence = (
            Evidence("share of the kernel time", top.share, "share"),
            Evidence("calls", top.calls, "calls"),
            Evidence("mean", top.mean_ns, "ns"),
        )
        advice = (advise(f"find a faster way for this {top.family} kernel, or a fused one"),)
        gain = gain_of(trace, device.device, "dominant kernel")
        if gain is not None and gain.high_ns < WORTH_TRYING * device.window_ns:
            continue
        places = (Place(top.longest_start_ns, top.max_ns, top.name),)
        title = f"One {top.family} kernel dominates"
        cost = at_once(trace, device.device, top.total_ns)
        yield Saying(cost, evidence, advice, device.device, gain, "low", title=title, places=places)
