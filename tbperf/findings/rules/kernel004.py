"""Fills and deterministic kernels.

## What it means

The GPU spends time filling memory with constants: gradients set to zero, buffers that deterministic algorithms
need.

## How it is measured

Kernels of the family «fill», told by their names, from 3 % of the window of a device on.

## Why it costs

Deterministic kernels clear a buffer and add into it in a fixed order; each clear is a pass over the memory.

## What to change

- `deterministic=False` where bit-for-bit repetition is not needed.
- `optimizer.zero_grad(set_to_none=True)`, the default of newer torch.

## Known false alarms

Padding of inputs.

## Example

`FillFunctor` kernels with 5 % of the window in a training with `deterministic=True`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument, at_once, gain_of, places_of_kernels, window_ns
from tbperf.findings.thresholds import FILLS, WORTH_TRYING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

FAMILY = "fill"


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for much time in this family of kernels."""
    for row in trace.families:
        if row.family == FAMILY and row.total_ns >= FILLS * window_ns(trace, row.device):
            evidence = (Evidence("calls", row.calls, "calls"), Evidence("share of the kernel time", row.share, "share"))
            advice = (
                advise(
                    "allow algorithms that are not deterministic",
                    "deterministic",
                    argument(trace, "deterministic"),
                    False,
                ),
            )
            gain = gain_of(trace, row.device, f"{FAMILY} kernels")
            if gain is not None and gain.high_ns < WORTH_TRYING * window_ns(trace, row.device):
                continue
            places = places_of_kernels(trace, row.device, lambda kernel: kernel.family == FAMILY)
            cost = at_once(trace, row.device, row.total_ns)
            yield Saying(cost, evidence, advice, row.device, gain, "medium", places=places)
