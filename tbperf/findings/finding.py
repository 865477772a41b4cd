"""What a rule may say: a diagnosis with a price tag, evidence and advice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from tbperf.analyses.examine import TraceReport

HIGH_SHARE = 0.15
MEDIUM_SHARE = 0.05
"""Of the window; from these on, a finding is of high or medium severity."""

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Evidence:
    """One number that supports a finding, with its unit."""

    name: str
    value: float
    unit: str


Advice = TypedDict("Advice", {"action": str, "argument": str | None, "from": Value, "to": Value})
"""What to try; with the exact argument and its values where there is one."""


def advise(action: str, argument: str | None = None, now: Value = None, to: Value = None) -> Advice:
    """Write down one thing to try."""
    return {"action": action, "argument": argument, "from": now, "to": to}


@dataclass(frozen=True)
class Gain:
    """What following the advice could save, in nanoseconds of the window."""

    low_ns: int
    high_ns: int


@dataclass(frozen=True)
class Finding:
    """A diagnosis with a price tag."""

    code: str
    title: str
    severity: str
    """high, medium or low, by the share of the window that could be recovered; info for what costs nothing."""
    rank: int | None
    phase: str | None
    device: int | None
    cost_ns: int
    cost_share: float
    """Of the window of the device; of the time of the steps, where no device is concerned."""
    gain: Gain | None
    """Null where the trace does not tell."""
    confidence: str
    """high: measured by the rules of the report; medium: concluded from what was measured; low: a hint."""
    evidence: tuple[Evidence, ...]
    advice: tuple[Advice, ...]
    page: str


def share(part: float, whole: float) -> float:
    """Return part of the whole; 0 of nothing."""
    return part / whole if whole else 0.0


def window_ns(trace: TraceReport, device: int | None) -> int:
    """Return what costs are a share of: the window of the device, or the time of all steps."""
    if device is not None:
        return max(1, next(row.window_ns for row in trace.devices if row.device == device))
    if trace.steps:
        return max(1, sum(row.dur_ns for row in trace.steps))
    return max(1, sum(row.host_ns for row in trace.stages))


def idle_ns(trace: TraceReport, device: int, *causes: str) -> int:
    """Return the idle time of a device for some causes."""
    return sum(row.idle_ns for row in trace.idle if row.device == device and row.cause in causes)


def gain_of(trace: TraceReport, device: int, change: str) -> Gain | None:
    """Return what the replay says of a change."""
    found = next((row for row in trace.what_if if row.device == device and row.change == change), None)
    return Gain(found.low_ns, found.high_ns) if found else None


def argument(trace: TraceReport, name: str) -> Value:
    """Return an argument of the recorded command, in the phase of the trace; None where it is not known."""
    if trace.run is None:
        return None
    for phase in (trace.phase, "train", "predict", "val"):
        if phase is not None and phase in trace.run.arguments and name in trace.run.arguments[phase]:
            value: Value = trace.run.arguments[phase][name]
            return value
    return None


def not_worth_judging(trace: TraceReport) -> bool:
    """Tell whether a run has too few epochs to say anything of what happens once an epoch."""
    epochs = argument(trace, "epochs")
    return isinstance(epochs, int) and epochs < _EPOCHS


_EPOCHS = 3


def loads_in_process(trace: TraceReport) -> bool:
    """Tell whether the training process loads its own images, as far as the trace shows."""
    if argument(trace, "workers") == 0:
        return True
    if any("_SingleProcess" in (gap.host or "") for gap in trace.gaps):
        return True
    return any(
        row.stage in {"dataload", "fetch"} and row.op_ns > _IN_PROCESS_SHARE * row.host_ns for row in trace.stages
    )


_IN_PROCESS_SHARE = 0.2
"""Waiting for a worker takes no operators; loading does."""


def more_workers(trace: TraceReport) -> int:
    """Return a number of workers to try: as many as the process has cores, at most 8."""
    cores = trace.run.hardware.get("usable_cores") if trace.run else None
    return min(8, cores) if isinstance(cores, int) and cores > 0 else 8


def stage_ns(trace: TraceReport, *stages: str) -> int:
    """Return the host time of some stages."""
    return sum(row.host_ns for row in trace.stages if row.stage in stages)
