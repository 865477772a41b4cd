"""What step logs and traces say in a few numbers."""

from __future__ import annotations

import bisect
import gzip
import math
import re
from collections import defaultdict
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from tbperf.capture.folder import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

Step = dict[str, Any]
_Span = tuple[float, float]

FEWEST_STEPS = 3
"""With fewer steps on either side, nothing is said about how much the profiler slowed them."""

_NEAR_STEPS = 16
"""How many other steps a profiled one is compared with: those next to it, as a run gets faster and slower."""

_COLD_STEPS = 3
"""Steps at the start of a phase that are slow for reasons of their own: allocation, plots."""

_RANGE = re.compile(
    rb'"name": "(?P<name>(?:tbperf/(?!module:)|ProfilerStep#)[^"]*)",'
    rb'[^{}]*?"ts": (?P<ts>[0-9.]+),\s*"dur": (?P<dur>[0-9.]+)'
)


def read_steps(folder: Path) -> list[Step]:
    """Return the steps of all processes."""
    return [step for path in sorted(folder.glob("steps.*.jsonl")) for step in read_lines(path)]


def summarize_steps(steps: Iterable[Step]) -> dict[str, Any]:
    """Return, by phase, the steps inside and outside of the windows, and what profiling cost."""
    phases: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        phases[step["phase"]].append(step)
    return {phase: _summarize_phase(rows) for phase, rows in phases.items()}


def _summarize_phase(steps: Sequence[Step]) -> dict[str, Any]:
    profiled = [step for step in steps if step["profiler"] == "active"]
    others = [step for step in steps if step["profiler"] == "off"]
    warm = [step for step in others if step["step"] >= _COLD_STEPS]
    return {
        "steps": len(steps),
        "unprofiled": _summarize(warm or others),
        "profiled": _summarize(profiled),
        "slowdown": _slowdown(profiled, warm),
        "recorder_ns": sum(step["recorder_ns"] for step in steps),
    }


def _slowdown(profiled: Sequence[Step], others: Sequence[Step]) -> float | None:
    """Return how much longer profiled steps took than others of their kind next to them: the median of the ratios.

    A step of one kind has the same stages: one that moves the weights is not compared with one that does not.
    None where too few can be compared.
    """
    of_kind: dict[frozenset[str], list[Step]] = defaultdict(list)
    for step in others:
        of_kind[frozenset(step["stages"])].append(step)
    ratios = []
    for step in profiled:
        near = _nearest(of_kind[frozenset(step["stages"])], step["step"])
        if len(near) >= FEWEST_STEPS:
            ratios.append(step["dur_ns"] / max(1, median(_durations(near))))
    return median(ratios) if len(ratios) >= FEWEST_STEPS else None


def _nearest(steps: Sequence[Step], at: int) -> list[Step]:
    return sorted(steps, key=lambda step: abs(step["step"] - at))[:_NEAR_STEPS]


def _summarize(steps: Sequence[Step]) -> dict[str, Any]:
    if not steps:
        return {"count": 0, "median_dur_ns": None, "mean_dur_ns": None, "stages_mean_ns": {}}
    totals: dict[str, int] = defaultdict(int)
    for step in steps:
        for stage, dur_ns in step["stages"].items():
            totals[stage] += dur_ns
    durations = _durations(steps)
    return {
        "count": len(steps),
        "median_dur_ns": round(median(durations)),
        "mean_dur_ns": round(fmean(durations)),
        "stages_mean_ns": {stage: round(total / len(steps)) for stage, total in totals.items()},
    }


def _durations(steps: Iterable[Step]) -> list[int]:
    return [step["dur_ns"] for step in steps]


def stage_coverage(trace: Path) -> list[float]:
    """Return, for each whole step of a trace, the share of it that lies in a named stage."""
    content = trace.read_bytes()
    if trace.suffix == ".gz":
        content = gzip.decompress(content)
    steps: list[_Span] = []
    stages: list[_Span] = []
    for found in _RANGE.finditer(content):
        start, dur = float(found["ts"]), float(found["dur"])
        (steps if found["name"].startswith(b"Profiler") else stages).append((start, start + dur))
    stages.sort()
    return [_covered(step, stages) for step in _own(steps, stages) if step[1] > step[0]]


def _own(steps: list[_Span], stages: list[_Span]) -> Iterator[_Span]:
    """Yield the steps that the recorder marked: a profiler of the program's own begins its marks inside a stage."""
    starts = [start for start, _ in stages]
    reached = -math.inf
    for start, end in sorted(steps):
        at = bisect.bisect_left(starts, start) - 1
        in_a_stage = at >= 0 and stages[at][1] > start
        if not (start < reached and in_a_stage):
            reached = max(reached, end)
            yield start, end


def _covered(step: _Span, stages: Iterable[_Span]) -> float:
    """Return the share of ``step`` under the union of ``stages``, sorted by their start."""
    start, end = step
    reached, covered = start, 0.0
    for opened, closed in stages:
        fresh = min(closed, end) - max(opened, reached)
        if fresh > 0:
            covered += fresh
            reached = min(closed, end)
    return covered / (end - start)


def summarize_outside(events: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Sum over processes what ran outside of all steps."""
    merged: dict[str, dict[str, int]] = {}
    for event in events:
        for stage, times in event["stages"].items():
            total = merged.setdefault(stage, {"count": 0, "total_ns": 0})
            total["count"] += times["count"]
            total["total_ns"] += times["total_ns"]
    return merged
