"""The report on one or more traces: plain data, the same for the terminal, for JSON and for Python."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tbperf import __version__
from tbperf.analyses import LeftOut, Rows, Skipped, TraceReport, examine
from tbperf.analyses.ranks import (
    CollectiveTimes,
    Rank,
    Ranks,
    RankWait,
    hold_against_each_other,
    time_collectives,
)
from tbperf.errors import TraceFormatError, UsageError
from tbperf.findings import Finding, diagnose
from tbperf.findings.trust import cautions
from tbperf.findings.verdict import about_ranks, recommendation, verdict
from tbperf.readers import Source, find_traces, path_source, read_trace
from tbperf.readers.run import read_logged_steps
from tbperf.readers.workers import MOST_WORKERS, run_side_by_side, usable_cores
from tbperf.trace import LoggedSteps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from tbperf.trace import Trace

SCHEMA = "tbperf-report/1"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Unread:
    """A trace beside others that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What was found in one or more traces.  Field names are those of the JSON."""

    tbperf: str
    """Version that made the report."""
    verdict: tuple[str, ...]
    """What it comes to, in a sentence or two."""
    cautions: tuple[str, ...]
    """What makes the figures incomplete or less exact than usual; empty where nothing does."""
    traces: tuple[TraceReport, ...]
    """One a rank and recorded window."""
    ranks: Rows[Rank]
    """Ranks of a distributed job beside each other, the one that the others wait for most first."""
    rank_waits: Rows[RankWait]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    """Analyses that could look at none of the traces, and why."""
    unread: tuple[Unread, ...] = ()
    schema: str = field(default=SCHEMA)
    left_out: tuple[LeftOut, ...] = ()
    """What the lists of ranks do not hold, because there is too much of it."""
    logged_steps: tuple[LoggedSteps, ...] = ()
    """Steps of the run folders that the traces lie in, taken without the profiler: one a process and phase."""

    def table(self, name: str) -> pd.DataFrame:
        """Return a table of all traces as a data frame, with the rank and the phase in front.

        Tables are the row lists of a trace: devices, idle, gaps, kernels, memcpy, syncs, steps, stages, operators,
        threads.  Raises KeyError for any other name.
        """
        import pandas as pd  # noqa: PLC0415 - half a second that only users of data frames pay

        frames = []
        for trace in self.traces:
            rows = getattr(trace, name, None)
            if not isinstance(rows, Rows):
                raise KeyError(name)
            frame = rows.to_pandas()
            frame.insert(0, "rank", [trace.rank] * len(frame))
            frame.insert(1, "phase", [trace.phase] * len(frame))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)


def analyze(
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    device: int | None = None,
    stage_from: str | None = None,
    jobs: int = 0,
    progress: Callable[[str, int, int], None] = lambda _name, _bytes, _events: None,
) -> Report:
    """Read traces and report on them, on one device or on all, in so many processes (0: one a core).

    A path is a trace file, a run folder, an archive of traces, or any folder that holds some, such as TensorBoard's log
    folder.  Traces are read and let go one after the other; ``progress`` is told the name of each, and the bytes and
    events read of it so far.  One that cannot be read does not keep the others from being reported.  Raises
    TraceFormatError where none can be read, UsageError for a device that no trace has.

    ``stage_from`` is a regular expression: ranges whose name has a match are stages, too, named by its first group or,
    without one, by what matches.
    """
    report, _ = analyze_and(paths, _nothing, device=device, stage_from=stage_from, jobs=jobs, progress=progress)
    return report


def analyze_and(  # noqa: PLR0913 - the arguments of `analyze`, and the question
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    also: Callable[[Trace], _T],
    *,
    device: int | None = None,
    stage_from: str | None = None,
    jobs: int = 0,
    progress: Callable[[str, int, int], None] = lambda _name, _bytes, _events: None,
) -> tuple[Report, tuple[_T, ...]]:
    """Do what `analyze` does, and ask something more of each trace while it is held; answers in the report's order.

    The question may be asked in another process: it and its answers must be able to go there and back.
    """
    _check_pattern(stage_from)
    wish = _Wish(device, stage_from, also)
    given = [paths] if isinstance(paths, (str, PathLike)) else list(paths)
    files: list[Source] = []
    examined: list[_Examined] = []
    unread: list[TraceFormatError] = []
    for path in given:
        try:
            for source in find_traces(Path(path)):
                if not source.passing:
                    files.append(source)
                else:  # a member of an archive, or what came through a pipe: now or never
                    examined.append(_examine(source, wish, jobs, functools.partial(progress, source.name)))
        except TraceFormatError as error:  # noqa: PERF203 - an archive may be damaged behind members that were read
            if not examined:
                raise
            unread.append(error)
    if _many_small(files) and jobs != 1:
        tasks = [(source.path, source.name, source.process, source.notes, wish) for source in files]
        workers = min(jobs or usable_cores(), MOST_WORKERS, len(files))
        for source, found in zip(files, run_side_by_side(_examine_file, tasks, workers), strict=True):
            examined.append(found)
            progress(source.name, found.report.bytes if found.report else 0, found.report.events if found.report else 0)
    else:
        examined += [_examine(s, wish, jobs, functools.partial(progress, s.name)) for s in files]
    unread += [found.error for found in examined if found.error is not None]
    if unread and len(unread) >= len(examined):
        raise unread[0]
    devices = {number for found in examined for number in found.devices}
    if device is not None and not any(found.report for found in examined):
        seen = f"it has {', '.join(map(str, sorted(devices)))}" if devices else "it has no GPU work"
        raise UsageError(f"--device {device}: no trace has work of this GPU", seen)
    ranks = hold_against_each_other([(found.report, found.collectives) for found in examined if found.report])
    reported = sorted(((f.report, f.answer) for f in examined if f.report), key=lambda pair: _place(pair[0]))
    reports = [trace for trace, _ in reported]
    report = report_on(reports, ranks, [_unread(error) for error in unread], _logged_steps(reports))
    return report, tuple(answer for _, answer in reported)


def _nothing(_trace: Trace) -> None:
    """Ask nothing more."""


def _logged_steps(traces: Iterable[TraceReport]) -> list[LoggedSteps]:
    folders = dict.fromkeys(trace.run.folder for trace in traces if trace.run is not None)
    return [log for folder in folders for log in read_logged_steps(Path(folder))]


@dataclass(frozen=True)
class _Examined:
    """What was found in one trace; no report where it lacks the device that is asked for, or could not be read."""

    devices: tuple[int, ...] = ()
    report: TraceReport | None = None
    collectives: CollectiveTimes = field(default_factory=dict)
    error: TraceFormatError | None = None
    answer: Any = None
    """To what else was asked of the trace."""


def _unread(error: TraceFormatError) -> Unread:
    path, _, reason = error.message.partition(": ")
    return Unread(path, reason or error.message)


_WORTH_PROCESSES_BYTES = 4 << 20
_LARGE_BYTES = 64 << 20
"""From here on, the pieces of one file are enough work for all cores."""


def _many_small(files: list[Source]) -> bool:
    """Tell whether whole files, side by side, keep the cores busier than the pieces of one after the other."""
    sizes = []
    for file in files:
        with contextlib.suppress(OSError):  # it went away: reading it says so
            sizes.append(file.path.stat().st_size if file.path is not None else 0)
    return len(sizes) > 1 and max(sizes) < _LARGE_BYTES and sum(sizes) > _WORTH_PROCESSES_BYTES


@dataclass(frozen=True)
class _Wish:
    """What to find out about each trace."""

    device: int | None
    stage_from: str | None
    also: Callable[[Trace], Any]


def _examine_file(path: Path, name: str, process: int | None, notes: tuple[str, ...], wish: _Wish) -> _Examined:
    return _examine(
        replace(path_source(path), name=name, process=process, notes=notes), wish, 1, lambda _bytes, _events: None
    )


def _check_pattern(pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise UsageError(
            f"--stage-from {pattern!r}: no regular expression: {error}", "such as 'train/(\\w+)'"
        ) from error


def _examine(source: Source, wish: _Wish, jobs: int, progress: Callable[[int, int], None]) -> _Examined:
    try:
        trace = replace(read_trace(source, jobs=jobs, progress=progress), stage_pattern=wish.stage_from)
    except TraceFormatError as error:
        return _Examined(error=error)
    devices = trace.devices
    if wish.device is not None:
        if wish.device not in devices:
            return _Examined(devices)
        trace = trace.on_device(wish.device)
    return _Examined(devices, examine(trace), time_collectives(trace), answer=wish.also(trace))


def report_on(
    traces: Sequence[TraceReport],
    ranks: Ranks | None = None,
    unread: Sequence[Unread] = (),
    logged_steps: Sequence[LoggedSteps] = (),
) -> Report:
    """Join the reports on single traces: the recording's main phase first, then by rank."""
    order = sorted(traces, key=_place)
    ranks = ranks or Ranks(Rows(), Rows())
    findings = diagnose(order, ranks.ranks)
    common = tuple(s for s in order[0].skipped if all(s in t.skipped for t in order)) if order else ()
    return Report(
        tbperf=__version__,
        verdict=(
            (
                *verdict(order[0]),
                *about_ranks(ranks.ranks),
                *recommendation(order[0], [f for f in findings if not f.trace]),
            )
            if order
            else ()
        ),
        cautions=(*cautions(order), *(f"{unread_.path} could not be read: {unread_.reason}" for unread_ in unread)),
        traces=tuple(order),
        ranks=ranks.ranks,
        rank_waits=ranks.waits,
        findings=findings,
        skipped=(*common, *ranks.skipped),
        unread=tuple(unread),
        left_out=tuple(LeftOut("rank_waits", rest.rows, rest.cost, "ns") for rest in (ranks.waits.rest,) if rest),
        logged_steps=tuple(logged_steps),
    )


def _place(trace: TraceReport) -> tuple[int, int, int]:
    """Return where a trace stands in a report: what warms up first is not what a run is like."""
    warms_up = any("warmup" in step.stage for step in trace.steps)
    return _phase_order(trace.phase), warms_up, -1 if trace.rank is None else trace.rank


def _phase_order(phase: str | None) -> int:
    phases = ("train", "predict", "val")
    return phases.index(phase) if phase in phases else len(phases)
