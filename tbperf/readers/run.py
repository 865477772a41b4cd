"""``run.json``: what the recorder left beside the traces.  docs/run-folder.md describes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from tbperf.trace.run import Run, StepTimes

if TYPE_CHECKING:
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
            )
            for phase, steps in found.steps.items()
        },
        outside_ns={stage: total.total_ns for stage, total in found.outside_steps.items()},
        notes=tuple(found.notes),
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
