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

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, Place, advise
from tbperf.findings.thresholds import POWER_CAPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.hardware import HardwareSeries

REASONS = ("power cap",)


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a GPU at its power limit."""
    for row in trace.throttling:
        if row.reason in REASONS and row.share >= POWER_CAPPED:
            device = row.device if any(row.device == d.device for d in trace.devices) else None
            clock = next((s for s in trace.hardware if (s.series, s.device) == ("sm_clock_mhz", row.device)), None)
            slower = 1 - clock.mean / clock.max if clock and clock.max else 0.0
            busy = next((d.busy_ns for d in trace.devices if d.device == row.device), 0)
            evidence = [Evidence(f"samples that tell of it ({row.reason})", row.share, "share")]
            evidence += [Evidence(name, series.mean, unit) for name, series, unit in _about(trace, row.device)]
            gain = Gain(0, round(busy * slower)) if slower else None
            yield Saying(
                round(busy * slower),
                evidence,
                (advise("raise the power limit, or accept it: nvidia-smi -pl"),),
                device,
                gain,
                "low",
                severity=None if busy * slower else "info",
                places=(Place(row.start_ns, row.dur_ns, row.reason),),
            )
            return


def _about(trace: TraceReport, device: int) -> Iterator[tuple[str, HardwareSeries, str]]:
    wanted = {
        "temperature_celsius": ("temperature", "°C"),
        "power_watts": ("power", "W"),
        "sm_clock_mhz": ("clock", "MHz"),
    }
    for series in trace.hardware:
        if series.series in wanted and series.device == device:
            name, unit = wanted[series.series]
            yield name, series, unit
