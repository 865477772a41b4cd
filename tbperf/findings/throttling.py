"""A GPU that lowers its clocks: what the rules about heat and about power say alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.hardware import HardwareSeries
    from tbperf.findings.finding import Advice


def throttled(trace: TraceReport, reasons: Collection[str], threshold: float, advice: Advice) -> Iterator[Saying]:
    """Look for GPUs that ran slower for one of some reasons, in at least this share of the samples."""
    told: set[int] = set()
    for row in trace.throttling:
        if row.reason in reasons and row.share >= threshold and row.device not in told:
            told.add(row.device)
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
                (advice,),
                device,
                gain,
                "low",
                severity=None if busy * slower else "info",
                places=(Place(row.start_ns, row.dur_ns, row.reason),),
            )


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
