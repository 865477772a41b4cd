"""``run.json``: what the recorder left beside the traces.  docs/run-folder.md describes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from statistics import fmean
from typing import IO, TYPE_CHECKING, Annotated, Any

import msgspec

from tbperf.readers.bounds import (
    DAY_NS,
    Cores,
    Count,
    Duration,
    Moment,
    Rank,
    Size,
    Whole,
    as_far_as_it_goes,
    checked,
    plain,
    whole_number,
    writable,
)
from tbperf.readers.files import open_regular
from tbperf.trace.run import LoggedSteps, Run, RunProcess, StepAccount, StepTimes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "run.json"
_SCHEMA = "tbperf-run/"


class _Summary(msgspec.Struct):
    """Steps of one sort, as the recorder summed them up."""

    count: Count = 0
    median_dur_ns: Duration | None = None
    mean_dur_ns: Annotated[float, msgspec.Meta(ge=0, le=DAY_NS)] | None = None
    stages_mean_ns: dict[str, Duration] = {}


class _Steps(msgspec.Struct):
    steps: Count = 0
    unprofiled: _Summary | None = None
    profiled: _Summary | None = None
    slowdown: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None


class _Outside(msgspec.Struct):
    total_ns: Whole = 0


class _Profiler(msgspec.Struct):
    options: dict[str, Any] = {}


class _Process(msgspec.Struct):
    pid: Whole
    phase: str
    rank: Rank | None = None
    device: str | None = None


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
    started_unix_ns: Moment | None = None
    profiler: _Profiler = msgspec.field(default_factory=_Profiler)
    processes: list[_Process] = []


_HARDWARE = {
    "cpu": str | None,
    "cores": Count | None,
    "usable_cores": Count | None,
    "core_quota": Cores | None,
    "memory_bytes": Size | None,
    "gpus": list[dict[str, Any]] | None,
    "gpus_unseen": str | None,
    "driver": str | None,
}

_LARGEST_BYTES = 64 << 20
"""What is larger is no account of a run."""


def find_run(trace: Path) -> Run | None:
    """Return the run that a trace file belongs to; None where it lies in no run folder."""
    return find_run_and_say(trace)[0]


def find_run_and_say(trace: Path) -> tuple[Run | None, tuple[str, ...]]:
    """Return the run that a trace file belongs to, and what of its account could not be used."""
    said: tuple[str, ...] = ()
    for folder in (trace.parent, trace.parent.parent):
        run, notes = read_run_and_say(folder)
        if run is not None:
            return run, notes
        said += notes
    return None, said


def read_run(folder: Path) -> Run | None:
    """Read the run.json of a folder; None where there is none, or none that can be read."""
    return read_run_and_say(folder)[0]


def read_run_and_say(folder: Path) -> tuple[Run | None, tuple[str, ...]]:
    """Read the run.json of a folder, and say what of it could not be used."""
    try:
        with open_regular(folder / NAME) as file:
            content = file.read(_LARGEST_BYTES)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not (folder / NAME).is_symlink():
            return None, ()
        return None, (f"{NAME} cannot be read: {(error.strerror or str(error)).lower()}",)
    try:
        text = content.decode("utf-8", "replace")
        document = writable(json.loads(text, strict=False, parse_int=whole_number))
    except (ValueError, RecursionError) as error:
        return None, (f"{NAME} cannot be read: {error}",)
    left_out: list[str] = []
    found = as_far_as_it_goes(_File, document, left_out)
    if not found.schema.startswith(_SCHEMA):
        return None, (f"{NAME} is not the account of a run: it names no schema {_SCHEMA}…",)
    hardware = plain(checked(found.hardware, _HARDWARE, left_out), left_out)
    found.arguments = plain(found.arguments, left_out)
    found.profiler.options = plain(found.profiler.options, left_out)
    notes = (f"{NAME}: what cannot be was left out: {', '.join(sorted(set(left_out)))}",) if left_out else ()
    return _run(folder, found, hardware), notes


def _run(folder: Path, found: _File, hardware: dict[str, Any]) -> Run:
    return Run(
        folder=str(folder),
        command=tuple(found.command),
        status=found.status,
        exit_code=found.exit_code,
        versions=found.versions,
        hardware=hardware,
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
        processes=tuple(RunProcess(p.pid, p.phase, p.rank, p.device) for p in found.processes),
    )


def _stages(summary: _Summary | None) -> dict[str, int]:
    return {} if summary is None else summary.stages_mean_ns


def _total(summary: _Summary | None) -> int:
    return 0 if summary is None else round(summary.count * (summary.mean_dur_ns or 0))


def _median(summary: _Summary | None) -> int | None:
    return None if summary is None else summary.median_dur_ns


class LoggedStep(msgspec.Struct):
    """A step of the run, recorded by a profiler or not: one line of ``steps.*.jsonl``."""

    phase: str
    step: Whole
    unix_ns: Moment
    dur_ns: Duration
    stages: dict[str, Duration] = {}
    images: Count | None = None
    rank: Rank | None = None
    profiler: str = ""
    cpu_ns: Whole | None = None
    main_cpu_ns: Whole | None = None
    main_queued_ns: Whole | None = None
    process: str = ""
    """Process id, and rank where there are several: what the file is named after."""


@dataclass
class StepLog:
    """The steps of some processes of a run, in the order of their files and lines."""

    steps: list[LoggedStep] = field(default_factory=list)
    broken_lines: int = 0
    """Lines that could not be used, but for a last one that its writer did not finish."""
    unreadable: list[str] = field(default_factory=list)
    """Files that could not be opened, and why."""


def read_step_log(folder: Path, pid: int | None = None) -> StepLog:
    """Read the steps of all processes of a run folder, or of one.

    A line that is no step (cut, damaged, a number that cannot be) hides no other: it is counted.
    """
    log = StepLog()
    for path in sorted(folder.glob("steps.*.jsonl")):
        process = path.name.removeprefix("steps.").removesuffix(".jsonl")
        if pid is not None and process.partition("_")[0] != str(pid):
            continue
        try:
            with open_regular(path) as file:
                _read_lines(file, process, log)
        except OSError as error:
            log.unreadable.append(f"{path.name} cannot be read: {(error.strerror or str(error)).lower()}")
    return log


def _read_lines(file: IO[bytes], process: str, log: StepLog) -> None:
    decoder = msgspec.json.Decoder(LoggedStep)
    rank = re.search(r"_rank(\d{1,6})$", process)
    while line := file.readline(_LONGEST_LINE):
        try:
            step = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            log.broken_lines += bool(line.strip()) and line.endswith(b"\n")
            continue
        step.process = process
        step.rank = int(rank[1]) if rank else None
        log.steps.append(step)


_LONGEST_LINE = 1 << 20


def read_steps(folder: Path) -> list[LoggedStep]:
    """Read the steps of all processes of a run."""
    return read_step_log(folder).steps


_COLD_STEPS = 3
"""Steps at the start of a phase that are slow for reasons of their own: allocation, plots."""

LOG_ROWS = 256
"""A log of more steps than this is thinned to at most so many rows."""


def read_logged_steps(folder: Path) -> list[LoggedSteps]:
    """Read the steps without the profiler of all processes of a run folder; empty where it has no log."""
    steps: dict[tuple[str, str], list[LoggedStep]] = {}
    for step in read_step_log(folder).steps:
        if step.profiler == "off" and step.step >= _COLD_STEPS and step.dur_ns > 0:
            steps.setdefault((step.process, step.phase), []).append(step)
    return [_thinned(str(folder), phase, process, rows) for (process, phase), rows in steps.items()]


def accounts_of(steps: Sequence[LoggedStep], phase: str) -> dict[int, StepAccount]:
    """Return what the log says of the steps of one phase that a profiler recorded, by their number."""
    return {
        step.step: StepAccount(step.images, step.cpu_ns, step.main_cpu_ns, step.main_queued_ns)
        for step in steps
        if step.phase == phase and step.profiler == "active"
    }


def _thinned(folder: str, phase: str, process: str, steps: Sequence[LoggedStep]) -> LoggedSteps:
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
