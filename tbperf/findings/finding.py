"""What a rule may say: a diagnosis with a price tag, evidence and advice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from tbperf.analyses.replay import WAITS
from tbperf.findings.thresholds import EPOCHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tbperf.analyses.copies import Copies, Copy
    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.kernels import Hotspot
    from tbperf.analyses.launches import Calls

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

    @property
    def reaches_low(self) -> bool:
        """Tell whether the lower end is worth a word."""
        return self.low_ns * 100 > self.high_ns


@dataclass(frozen=True)
class Place:
    """A stretch of the timeline that shows what a finding is about."""

    start_ns: int
    """After the trace's origin."""
    dur_ns: int
    name: str
    """What lies there: a kernel, a call, a stage, a cause of idle time."""


@dataclass(frozen=True)
class Finding:
    """A diagnosis with a price tag."""

    code: str
    title: str
    severity: str
    """high, medium or low, by the share of the window that could be recovered; info for what costs nothing."""
    trace: int
    """Index of the trace that it was found in."""
    rank: int | None
    phase: str | None
    device: int | None
    cost_ns: int
    cost_share: float
    """Of the window of the device; of the time of the steps, where no device is concerned.  What happens beside the
    steps (STAGE001, STAGE002) is added to both: as much of it as belongs to the recorded steps."""
    gain: Gain | None
    """Null where the trace does not tell."""
    confidence: str
    """high: measured by the rules of the report; medium: concluded from what was measured; low: a hint."""
    evidence: tuple[Evidence, ...]
    advice: tuple[Advice, ...]
    places: tuple[Place, ...]
    """Where on the timeline of its trace to look, the longest first; empty for what has no place."""
    page: str


def beside_the_steps(trace: TraceReport, device: int | None, ns: int) -> int:
    """Return how much of a time that the whole run spent beside its training steps belongs to the recorded ones."""
    training = trace.run.phase_ns("train") if trace.run is not None else 0
    return round(window_ns(trace, device) * ns / training) if training else 0


def at_once(trace: TraceReport, device: int, kernels_ns: int) -> int:
    """Return how long kernels took whose durations are summed: where streams overlap, no longer than all compute."""
    return min(kernels_ns, sum(row.compute_ns for row in trace.devices if row.device == device))


def exposed_ns(trace: TraceReport, device: int, copies: Iterable[Copies]) -> int:
    """Return the exposed time of some sorts of copies: those of two directions may run at once."""
    exposed = sum(row.exposed_memcpy_ns for row in trace.devices if row.device == device)
    return min(exposed, sum(row.exposed_ns for row in copies))


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


def places_of_idle(trace: TraceReport, device: int, *causes: str) -> tuple[Place, ...]:
    """Return the longest gaps of a device that some causes took most of, or else their longest pieces."""
    gaps = [row for row in trace.gaps if row.device == device and row.cause in causes]
    if gaps:
        return tuple(Place(row.start_ns, row.dur_ns, row.host or row.cause) for row in gaps[:MOST_PLACES])
    pieces = [row for row in trace.idle if row.device == device and row.cause in causes]
    return tuple(Place(row.longest_start_ns, row.longest_ns, row.cause) for row in pieces[:MOST_PLACES])


def waits_gain(trace: TraceReport, device: int, kind: str) -> Gain | None:
    """Return what is saved if calls of one kind do not wait for the device.

    Where several kinds wait, the queue runs empty at each of them, and removing one alone saves little: the kind that
    saves most by itself is told what removing all of them would save.
    """
    alone = {name: gain for name in WAITS if (gain := gain_of(trace, device, f"waits: {name}"))}
    if kind not in alone:
        return None
    every = gain_of(trace, device, "synchronizing")
    leads = max(alone, key=lambda name: alone[name].high_ns) == kind
    mine = alone[kind]
    return Gain(mine.low_ns, max(mine.high_ns, every.high_ns)) if leads and every else mine


def half_precision(trace: TraceReport) -> tuple[str, Value]:
    """Return the argument, and its value, that computes in half precision."""
    if trace.phase != "predict":
        return "amp", True
    version = re.match(r"(\d+)\.(\d+)", trace.versions.get("ultralytics") or "")
    renamed = version is not None and (int(version[1]), int(version[2])) >= _QUANTIZE_SINCE
    return ("quantize", 16) if renamed else ("half", True)


_QUANTIZE_SINCE = (8, 4)
"""Ultralytics renamed ``half=True`` to ``quantize=16``."""


def places_of_copies(trace: TraceReport, device: int, accepts: Callable[[Copy], bool]) -> tuple[Place, ...]:
    """Return the dearest copies that are accepted."""
    rows = [row for row in trace.copies if row.device == device and accepts(row)]
    return tuple(Place(row.start_ns, row.dur_ns, row.copy_kind or "copy") for row in rows[:MOST_PLACES])


def places_of_calls(calls: Sequence[Calls]) -> tuple[Place, ...]:
    """Return the longest calls of the dearest sorts."""
    return tuple(Place(row.longest_start_ns, row.longest_ns, row.api) for row in calls[:MOST_PLACES])


def places_of_stages(trace: TraceReport, *stages: str | None) -> tuple[Place, ...]:
    """Return the longest stretch of each of some stages."""
    rows = [row for row in trace.stages if row.stage in stages and row.longest_ns]
    return tuple(Place(row.longest_start_ns, row.longest_ns, row.stage or "no stage") for row in rows[:MOST_PLACES])


def places_of_kernels(trace: TraceReport, device: int, accepts: Callable[[Hotspot], bool]) -> tuple[Place, ...]:
    """Return the longest call of each of the dearest kernels that are accepted."""
    rows = [row for row in trace.kernels if row.device == device and accepts(row)]
    return tuple(Place(row.longest_start_ns, row.max_ns, row.name) for row in rows[:MOST_PLACES])


MOST_PLACES = 5


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
    return isinstance(epochs, int) and epochs < EPOCHS


def loads_in_process(trace: TraceReport) -> bool:
    """Tell whether the training process loads its own images, as far as the trace shows."""
    if argument(trace, "workers") == 0:
        return True
    if any("_SingleProcess" in (gap.host or "") for gap in trace.gaps):
        return True
    if any(row.stage == "fetch" for row in trace.stages):
        return True
    return any(row.stage == "dataload" and row.op_ns > _IN_PROCESS_SHARE * row.host_ns for row in trace.stages)


_IN_PROCESS_SHARE = 0.2
"""Waiting for a worker takes no operators; loading does."""


def more_workers(trace: TraceReport) -> int:
    """Return a number of workers to try: as many as the process has cores, at most 8."""
    cores = trace.run.hardware.get("usable_cores") if trace.run else None
    return min(8, cores) if isinstance(cores, int) and cores > 0 else 8


def stage_ns(trace: TraceReport, *stages: str) -> int:
    """Return the host time of some stages."""
    return sum(row.host_ns for row in trace.stages if row.stage in stages)
