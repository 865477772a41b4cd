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

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, Place, advise
from tbperf.findings.thresholds import THROTTLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.hardware import HardwareSeries

REASONS = ("hardware slowdown", "temperature", "hardware: temperature", "hardware: power brake")


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a GPU that protects itself."""
    for row in trace.throttling:
        if row.reason in REASONS and row.share >= THROTTLED:
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
                (advise("cool the GPU better, or let it work less hard"),),
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
