"""What the recorded steps take without the profiler, which slows the host: the log of the same run tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tbperf.analyses.rows import Rows

if TYPE_CHECKING:
    from tbperf.analyses.accounting import DeviceTime
    from tbperf.trace import Trace
    from tbperf.trace.run import StepTimes


@dataclass(frozen=True)
class UnprofiledStage:
    """A stage of the step, with the profiler and without."""

    stage: str
    profiled_ns: int
    """Mean of a profiled step, nested stages not counted again."""
    unprofiled_ns: int
    """Mean of the steps without the profiler."""


@dataclass(frozen=True)
class UnprofiledDevice:
    """A device in a step of the length that it has without the profiler."""

    device: int
    busy_ns: int
    """Of a step, as recorded: profilers do not slow the device's own work."""
    idle_ns: int
    """What is left of the step without the profiler."""
    idle_share: float
    """Of that step."""
    profiled_idle_share: float
    """Of the recorded window."""


@dataclass(frozen=True)
class Unprofiled:
    """The recorded steps held against those of the same run that were not recorded."""

    step_ns: int
    """Median of the steps without the profiler."""
    profiled_step_ns: int
    """Median of the profiled steps."""
    slowdown: float
    """The second by the first."""
    stages: Rows[UnprofiledStage]
    """Those that lost most first."""
    devices: Rows[UnprofiledDevice]


def correct_for_profiling(trace: Trace, devices: Rows[DeviceTime]) -> Unprofiled | None:
    """Hold the recorded steps against the others of the run; None where the run's log does not tell."""
    phase = trace.recording.get("phase")
    steps = trace.run.steps.get(phase) if trace.run is not None and isinstance(phase, str) else None
    if steps is None or steps.slowdown is None or not steps.unprofiled_ns or not steps.profiled_ns:
        return None
    return Unprofiled(
        step_ns=steps.unprofiled_ns,
        profiled_step_ns=steps.profiled_ns,
        slowdown=steps.slowdown,
        stages=_stages(steps),
        devices=Rows(_device(row, steps.unprofiled_ns, len(trace.steps)) for row in devices if len(trace.steps)),
    )


def _stages(steps: StepTimes) -> Rows[UnprofiledStage]:
    names = dict.fromkeys((*steps.profiled_stages_ns, *steps.unprofiled_stages_ns))
    rows = [
        UnprofiledStage(name, steps.profiled_stages_ns.get(name, 0), steps.unprofiled_stages_ns.get(name, 0))
        for name in names
    ]
    return Rows(sorted(rows, key=lambda row: row.unprofiled_ns - row.profiled_ns))


def _device(row: DeviceTime, step_ns: int, steps: int) -> UnprofiledDevice:
    busy = round(row.busy_ns / steps)
    idle = max(0, step_ns - busy)
    return UnprofiledDevice(row.device, busy, idle, idle / step_ns, row.idle_ns / max(1, row.window_ns))
