"""``run.json``: what the recorder left beside the traces.  docs/run-folder.md describes it."""

from __future__ import annotations

import contextlib
import re
from statistics import fmean
from typing import TYPE_CHECKING, Any

import msgspec

from tbperf.trace.run import LoggedSteps, Run, StepTimes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAME = "run.json"
_SCHEMA = "tbperf-run/"


class _Steps(msgspec.Struct):
    steps: int = 0
    unprofiled: dict[str, Any] | None = None
    profiled: dict[str, Any] | None = None
    slowdown: float | None = None


class _Outside(msgspec.Struct):
    total_ns: int = 0


class _Profiler(msgspec.Struct):
    options: dict[str, Any] = {}


class _File(msgspec.Struct):
    schema: str = ""
    status: str = ""
    command: list[str] = []
    exit_code: int | None = None
    versions: dict[str, str | None] = {}
    hardware: dict[str, Any] = {}
    arguments: dict[str, dict[str, Any]] = {}
    steps: dict[str, _Steps] = {}
    outside_steps: dict[str, _Outside] = {}
    notes: list[str] = []
    started_unix_ns: int | None = None
    profiler: _Profiler = msgspec.field(default_factory=_Profiler)


class _LoggedStep(msgspec.Struct):
    phase: str
    step: int
    dur_ns: int
    profiler: str
    stages: dict[str, int] = {}
    images: int | None = None


def find_run(trace: Path) -> Run | None:
    """Return the run that a trace file belongs to; None where it lies in no run folder."""
    for folder in (trace.parent, trace.parent.parent):
        run = read_run(folder)
        if run is not None:
            return run
    return None


def read_run(folder: Path) -> Run | None:
    """Read the run.json of a folder; None where there is none, or none that can be read."""
    try:
        found = msgspec.json.decode((folder / NAME).read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not found.schema.startswith(_SCHEMA):
        return None
    return Run(
        folder=str(folder),
        command=tuple(found.command),
        status=found.status,
        exit_code=found.exit_code,
        versions=found.versions,
        hardware=found.hardware,
        arguments=found.arguments,
        steps={
            phase: StepTimes(
                steps=steps.steps,
                total_ns=_total(steps.unprofiled) + _total(steps.profiled),
                unprofiled_ns=_median(steps.unprofiled),
                profiled_ns=_median(steps.profiled),
                slowdown=steps.slowdown,
                unprofiled_stages_ns=_stages(steps.unprofiled),
                profiled_stages_ns=_stages(steps.profiled),
            )
            for phase, steps in found.steps.items()
        },
        outside_ns={stage: total.total_ns for stage, total in found.outside_steps.items()},
        notes=tuple(found.notes),
        started_unix_ns=found.started_unix_ns,
        profiler=found.profiler.options,
    )


def _stages(summary: dict[str, Any] | None) -> dict[str, int]:
    found = (summary or {}).get("stages_mean_ns")
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(name): ns for name, ns in pairs if isinstance(ns, int)}


_COLD_STEPS = 3
"""Steps at the start of a phase that are slow for reasons of their own: allocation, plots."""

LOG_ROWS = 256
"""A log of more steps than this is thinned to at most so many rows."""


def read_logged_steps(folder: Path) -> list[LoggedSteps]:
    """Read the steps without the profiler of all processes of a run folder; empty where it has no log."""
    found = []
    for path in sorted(folder.glob("steps.*.jsonl")):
        steps: dict[str, list[_LoggedStep]] = {}
        for step in _read_log(path):
            if step.profiler == "off" and step.step >= _COLD_STEPS and step.dur_ns > 0:
                steps.setdefault(step.phase, []).append(step)
        process = path.name.removeprefix("steps.").removesuffix(".jsonl")
        found += [_thinned(str(folder), phase, process, rows) for phase, rows in steps.items()]
    return found


def _read_log(path: Path) -> Iterator[_LoggedStep]:
    """Read lines up to the first that is not whole: its writer was killed."""
    decoder = msgspec.json.Decoder(_LoggedStep)
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError), path.open("rb") as log:
        for line in log:
            yield decoder.decode(line)


def _thinned(folder: str, phase: str, process: str, steps: Sequence[_LoggedStep]) -> LoggedSteps:
    per_row = -(-len(steps) // LOG_ROWS)
    rows = [steps[at : at + per_row] for at in range(0, len(steps), per_row)]
    stages = dict.fromkeys(stage for step in steps for stage in step.stages)
    counts = [[step.images for step in row if step.images is not None] for row in rows]
    return LoggedSteps(
        folder=folder,
        phase=phase,
        process=process,
        steps_per_row=per_row,
        steps=len(steps),
        dur_ns=tuple(round(fmean(step.dur_ns for step in row)) for row in rows),
        images=tuple(map(fmean, counts)) if sum(map(len, counts)) == len(steps) else None,
        stages={name: tuple(round(fmean(s.stages.get(name, 0) for s in row)) for row in rows) for name in stages},
    )


def _total(steps: dict[str, Any] | None) -> int:
    count, mean = (steps or {}).get("count"), (steps or {}).get("mean_dur_ns")
    return round(count * mean) if isinstance(count, int) and isinstance(mean, (int, float)) else 0


def _median(steps: dict[str, Any] | None) -> int | None:
    value = (steps or {}).get("median_dur_ns")
    return value if isinstance(value, int) else None


class LoggedStep(msgspec.Struct):
    """A step of the run, recorded by a profiler or not: one line of ``steps.*.jsonl``."""

    phase: str
    step: int
    unix_ns: int
    dur_ns: int
    stages: dict[str, int] = {}
    images: int | None = None
    rank: int | None = None


def read_steps(folder: Path) -> list[LoggedStep]:
    """Read the steps of all processes of a run, but for lines that cannot be read: the last one of a killed run."""
    found = []
    for path in sorted(folder.glob("steps.*.jsonl")):
        rank = re.search(r"_rank(\d+)\.jsonl$", path.name)
        for line in path.read_bytes().splitlines():
            try:
                step = msgspec.json.decode(line, type=LoggedStep)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            step.rank = int(rank[1]) if rank else None
            found.append(step)
    return found
