"""The GPU is at its power limit.

## What it means

The GPU would run faster if it were allowed to draw more power.

## How it is measured

NVML's reason «power cap» in at least 20 % of the samples taken while the steps ran. The cost as in HW001.

## Why it costs

As HW001: the clock is lowered until the power fits.

## What to change

- Usually nothing: a GPU at its power limit is a GPU that works.
- `nvidia-smi -pl` where the limit was lowered; half precision (KERNEL002) does the same work with less power.

## Known false alarms

Large matrix products reach the limit on every card: it is how they are built.

## Example

A laptop's GPU with 60 W: the cap holds in all samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.finding import advise
from tbperf.findings.thresholds import POWER_CAPPED
from tbperf.findings.throttling import throttled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.diagnose import Saying

REASONS = ("power cap",)


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a GPU at its power limit."""
    return throttled(trace, REASONS, POWER_CAPPED, advise("raise the power limit, or accept it: nvidia-smi -pl"))
