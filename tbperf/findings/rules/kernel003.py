"""Layout conversions.

## What it means

The GPU converts tensors between channels-first and channels-last (`nchwToNhwcKernel`, `nhwcToNchwKernel`,
transposes).

## How it is measured

Kernels of the family «layout», told by their names, from 5 % of the window of a device on.

## Why it costs

Convolutions on tensor cores want channels last; with a model in channels first, every one of them is wrapped in
conversions.

## What to change

- `model.to(memory_format=torch.channels_last)` and the same for the images.

## Known false alarms

Detection heads reshape their outputs once; below 5 % it is not worth the change.

## Example

474 `nchwToNhwcKernel` in three steps of a ResNet on an A100: 7.8 % of its kernel time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, at_once, gain_of, places_of_kernels, window_ns
from tbperf.findings.thresholds import LAYOUT, WORTH_TRYING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

FAMILY = "layout"


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for much time in this family of kernels."""
    for row in trace.families:
        if row.family == FAMILY and row.total_ns >= LAYOUT * window_ns(trace, row.device):
            evidence = (Evidence("calls", row.calls, "calls"), Evidence("share of the kernel time", row.share, "share"))
            advice = (advise("keep tensors in channels last", "memory_format", "contiguous", "channels_last"),)
            gain = gain_of(trace, row.device, f"{FAMILY} kernels")
            if gain is not None and gain.high_ns < WORTH_TRYING * window_ns(trace, row.device):
                continue
            places = places_of_kernels(trace, row.device, lambda kernel: kernel.family == FAMILY)
            cost = at_once(trace, row.device, row.total_ns)
            yield Saying(cost, evidence, advice, row.device, gain, "medium", places=places)
