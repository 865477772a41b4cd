"""The GPU throttles.

## What it means

The GPU runs slower than it could to protect itself: it is too hot, or its supply of power is.

## How it is measured

NVML's reasons for lower clocks, sampled while the steps ran (`tbperf record` samples them): slowdown by hardware or by
temperature in at least 5 % of the samples. The cost is the time that the GPU worked, times how far its mean clock lies
below the highest that was seen.

## Why it costs

Kernels that compute take longer by as much as the clock is lower; those that wait for memory do not.

## What to change

- Air: fans, filters, distance to the next card; fewer cards in one case.
- A lower power limit (`nvidia-smi -pl`) often costs little speed and avoids the heat.

## Known false alarms

A short window after a pause, in which clocks still rise.

## Example

83 °C, thermal slowdown in 40 % of the samples, 1,380 MHz instead of 1,755.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.finding import advise
from tbperf.findings.thresholds import THROTTLED
from tbperf.findings.throttling import throttled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.diagnose import Saying

REASONS = ("hardware slowdown", "temperature", "hardware: temperature", "hardware: power brake")


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a GPU that protects itself."""
    return throttled(trace, REASONS, THROTTLED, advise("cool the GPU better, or let it work less hard"))
