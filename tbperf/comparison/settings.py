"""What two runs were made with: what differs, and whether they can be compared at all."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tbperf.analyses import TraceReport
    from tbperf.comparison.recorded import Recorded


@dataclass(frozen=True)
class Setting:
    """Something that the two sides were made with, and that differs."""

    kind: str
    """argument, version, hardware, profiler or command."""
    name: str
    a: str | None
    """As text; null where that side does not tell."""
    b: str | None


@dataclass(frozen=True)
class Mismatch:
    """A difference that makes the comparison doubtful, or forbids it."""

    name: str
    a: str
    b: str
    why: str
    forbids: bool
    """Whether the two can be compared only by --force."""

    def sentence(self) -> str:
        """Say it in one line."""
        return f"{self.name}: {self.a} against {self.b}: {self.why}"


_PLACES = frozenset({"project", "name", "save_dir", "exist_ok", "data", "model", "source"})
"""Arguments that may hold paths: they differ where nothing else does.  The last part is compared."""

_NOWHERE = frozenset({"project", "name", "save_dir", "exist_ok", "resume"})
"""Arguments that say where results go."""


def settings_of(a: Recorded, b: Recorded) -> tuple[Setting, ...]:
    """Return what was set differently in two runs, arguments first."""
    return tuple(
        Setting(kind, name, _text(before.get(name)), _text(after.get(name)))
        for kind, before, after in _told(a, b)
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    )


def kinds_told(a: Recorded, b: Recorded) -> tuple[str, ...]:
    """Return the kinds of settings that both runs tell."""
    return tuple(kind for kind, _, _ in _told(a, b))


def _told(a: Recorded, b: Recorded) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for kind, settings in _KINDS.items():
        before, after = settings(a.traces[0]), settings(b.traces[0])
        if before and after:
            yield kind, before, after


def _arguments(trace: TraceReport) -> Mapping[str, Any]:
    if trace.run is None or trace.phase is None:
        return {}
    found = trace.run.arguments.get(trace.phase) or next(iter(trace.run.arguments.values()), {})
    return {
        name: _base_name(value) if name in _PLACES else value for name, value in found.items() if name not in _NOWHERE
    }


def _base_name(value: object) -> object:
    return value.replace("\\", "/").rstrip("/").rpartition("/")[2] if isinstance(value, str) else value


def _versions(trace: TraceReport) -> Mapping[str, Any]:
    told = (*(trace.run.versions.items() if trace.run else ()), *trace.versions.items())
    return {name: value for name, value in told if value is not None}


def _hardware(trace: TraceReport) -> Mapping[str, Any]:
    run = trace.run.hardware if trace.run else {}
    told = {name: run[name] for name in ("cpu", "cores", "usable_cores", "memory_bytes", "driver") if name in run}
    names = sorted({gpu.name for gpu in trace.gpus})
    return told | ({"gpu": ", ".join(names)} if names else {})


def _profiler(trace: TraceReport) -> Mapping[str, Any]:
    return dict(trace.run.profiler) if trace.run else {}


_KINDS = {"argument": _arguments, "version": _versions, "hardware": _hardware, "profiler": _profiler}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def mismatches_of(a: Recorded, b: Recorded) -> tuple[Mismatch, ...]:
    """Return why the comparison of two runs is doubtful, what forbids it first."""
    return tuple(sorted(_mismatches(a, b), key=lambda mismatch: not mismatch.forbids))


def _mismatches(a: Recorded, b: Recorded) -> Iterator[Mismatch]:
    first, second = a.traces[0], b.traces[0]
    if a.phase != b.phase:
        yield Mismatch("phase", _or_unknown(a.phase), _or_unknown(b.phase), "they do different things", forbids=True)
    if a.on_device != b.on_device:
        first_kind, second_kind = ("the GPU" if side.on_device else "no GPU work" for side in (a, b))
        why = "host times and device times say different things"
        yield Mismatch("device", first_kind, second_kind, why, forbids=True)
    for name, why in (
        ("gpu", "another GPU explains any difference"),
        ("cpu", "another CPU explains any difference"),
        ("usable_cores", "the host had more to work with"),
    ):
        before, after = _hardware(first).get(name), _hardware(second).get(name)
        if before is not None and after is not None and before != after:
            yield Mismatch(name, str(before), str(after), why, forbids=True)
    if a.processes != b.processes:
        yield Mismatch("world size", str(a.processes), str(b.processes), "ranks share work and wait", forbids=True)
    before, after = _arguments(first).get("imgsz"), _arguments(second).get("imgsz")
    if before is not None and after is not None and before != after:
        why = "an image is not the same work"
        yield Mismatch("imgsz", str(before), str(after), why, forbids=True)
    if a.images and b.images and differs(a.images, b.images):
        why = "times are given by image, not by step"
        yield Mismatch("images a step", f"{a.images:g}", f"{b.images:g}", why, forbids=False)
    if a.source != b.source:
        why = "one is of whole windows, the other of steps"
        yield Mismatch("steps", a.source, b.source, why, forbids=True)
    yield from _clocks(a, b)
    options = _profiler(first), _profiler(second)
    if all(options) and options[0] != options[1]:
        changed = [name for name in options[1] if options[0].get(name) != options[1][name]]
        values = [", ".join(f"{name}={side.get(name)}" for name in changed) for side in options]
        why = "what the profiler records slows what it records"
        yield Mismatch("profiler", values[0], values[1], why, forbids=a.source != "log")


def _clocks(a: Recorded, b: Recorded) -> Iterator[Mismatch]:
    reasons = [_throttled(side) for side in (a, b)]
    if any(reasons):
        why = "a GPU that is held back takes longer for the same work"
        yield Mismatch("throttled", reasons[0] or "no", reasons[1] or "no", why, forbids=False)
    clocks = [mean_samples([side]).get(_CLOCK) for side in (a, b)]
    if clocks[0] and clocks[1] and abs(clocks[0] / clocks[1] - 1) > _SAME_CLOCK:
        why = "kernels take longer at lower clocks"
        yield Mismatch("clock of the GPU", f"{clocks[0]:.0f} MHz", f"{clocks[1]:.0f} MHz", why, forbids=False)


_CLOCK = "sm_clock_mhz"
_SAME_CLOCK = 0.03
_HELD_BACK = 0.1
"""Of the samples; what held a GPU back for less of the time is not told."""

_NO_BRAKES = frozenset({"idle", "clocks set by an application", "sync boost", "display clocks"})
"""Reasons of NVML for a clock below the highest that are no sign of trouble."""


def _throttled(run: Recorded) -> str:
    rows = [row for trace in run.traces for row in trace.throttling]
    return ", ".join(dict.fromkeys(r.reason for r in rows if r.share >= _HELD_BACK and r.reason not in _NO_BRAKES))


def mean_samples(runs: Sequence[Recorded]) -> dict[str, float]:
    """Return the mean of each series of hardware samples, over devices and runs."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for trace in run.traces:
            for row in trace.hardware:
                found.setdefault(row.series, []).append(row.mean)
    return {series: fmean(means) for series, means in found.items()}


_SAME_IMAGES = 0.05
"""The last batch of an epoch may be smaller."""


def differs(a: float, b: float) -> bool:
    """Tell whether the images of a step differ by more than a smaller last batch explains."""
    return abs(a - b) > _SAME_IMAGES * max(a, b)


def _or_unknown(phase: str | None) -> str:
    return phase or "unknown"
