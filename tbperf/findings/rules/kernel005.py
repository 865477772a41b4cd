"""Casts and copies on the GPU.

## What it means

Kernels that only move or convert data: `.to(dtype)`, `.contiguous()`, `torch.cat`, indexing.

## How it is measured

Kernels of the family «cast and copy», told by their names, from 8 % of the window of a device on.

## Why it costs

They are bound by memory: each is a read and a write of the whole tensor.

## What to change

- Copy `uint8` images and convert once.
- Avoid `.float()`/`.half()` back and forth under AMP; keep what is needed in fp32 in one place.
- `compile=True` fuses casts into their neighbours.

## Known false alarms

Concatenations belong to the model (C2f, SPPF).

## Example

Casts between bf16 and fp32 around every softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument, at_once, gain_of, places_of_kernels, window_ns
from tbperf.findings.thresholds import CASTS, WORTH_TRYING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

FAMILY = "cast and copy"


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for much time in this family of kernels."""
    for row in trace.families:
        if row.family == FAMILY and row.total_ns >= CASTS * window_ns(trace, row.device):
            evidence = (Evidence("calls", row.calls, "calls"), Evidence("share of the kernel time", row.share, "share"))
            advice = (
                advise("avoid conversions between types, or fuse them", "compile", argument(trace, "compile"), True),
            )
            gain = gain_of(trace, row.device, f"{FAMILY} kernels")
            if gain is not None and gain.high_ns < WORTH_TRYING * window_ns(trace, row.device):
                continue
            places = places_of_kernels(trace, row.device, lambda kernel: kernel.family == FAMILY)
            cost = at_once(trace, row.device, row.total_ns)
            yield Saying(cost, evidence, advice, row.device, gain, "medium", places=places)
