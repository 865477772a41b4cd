"""The report on one or more traces: plain data, the same for the terminal, for JSON and for Python."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from tbperf import __version__
from tbperf.analyses import Rows, Skipped, TraceReport, examine
from tbperf.errors import UsageError
from tbperf.findings import Finding, diagnose
from tbperf.findings.verdict import recommendation, verdict
from tbperf.readers import Source, file_source, find_traces, read_trace
from tbperf.readers.workers import MOST_WORKERS, run_side_by_side, usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

SCHEMA = "tbperf-report/1"


@dataclass(frozen=True)
class Report:
    """What was found in one or more traces.  Field names are those of the JSON."""

    tbperf: str
    """Version that made the report."""
    verdict: tuple[str, ...]
    """What it comes to, in a sentence or two."""
    traces: tuple[TraceReport, ...]
    """One a rank and recorded window."""
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    """Analyses that could look at none of the traces, and why."""
    schema: str = field(default=SCHEMA)

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
    jobs: int = 0,
    progress: Callable[[str, int, int], None] = lambda _name, _bytes, _events: None,
) -> Report:
    """Read traces and report on them, on one device or on all, in so many processes (0: one a core).

    A path is a trace file, a run folder, an archive of traces, or any folder that holds some, such as TensorBoard's log
    folder.  Traces are read and let go one after the other; ``progress`` is told the name of each, and the bytes and
    events read of it so far.  Raises TraceFormatError for what cannot be read, UsageError for a device that no trace
    has.
    """
    given = [paths] if isinstance(paths, (str, PathLike)) else list(paths)
    sources = itertools.chain.from_iterable(find_traces(Path(path)) for path in given)
    files: list[Source] = []
    examined: list[tuple[tuple[int, ...], TraceReport | None]] = []
    for source in sources:
        if source.path is not None:
            files.append(source)
        else:  # a member of an archive: now or never
            examined.append(_examine(source, device, jobs, functools.partial(progress, source.name)))
    if _many_small(files) and jobs != 1:
        tasks = [(source.path, device) for source in files]
        workers = min(jobs or usable_cores(), MOST_WORKERS, len(files))
        for source, found in zip(files, run_side_by_side(_examine_file, tasks, workers), strict=True):
            examined.append(found)
            progress(source.name, found[1].bytes if found[1] else 0, found[1].events if found[1] else 0)
    else:
        examined += [_examine(s, device, jobs, functools.partial(progress, s.name)) for s in files]
    reports = [report for _, report in examined if report is not None]
    devices = {number for numbers, _ in examined for number in numbers}
    if device is not None and not reports:
        seen = f"it has {', '.join(map(str, sorted(devices)))}" if devices else "it has no GPU work"
        raise UsageError(f"--device {device}: no trace has work of this GPU", seen)
    return report_on(reports)


_WORTH_PROCESSES_BYTES = 4 << 20
_LARGE_BYTES = 64 << 20
"""From here on, the pieces of one file are enough work for all cores."""


def _many_small(files: list[Source]) -> bool:
    """Tell whether whole files, side by side, keep the cores busier than the pieces of one after the other."""
    sizes = [file.path.stat().st_size for file in files if file.path is not None and file.path.exists()]
    return len(sizes) > 1 and max(sizes) < _LARGE_BYTES and sum(sizes) > _WORTH_PROCESSES_BYTES


def _examine_file(path: Path, device: int | None) -> tuple[tuple[int, ...], TraceReport | None]:
    return _examine(file_source(path), device, 1, lambda _bytes, _events: None)


def _examine(
    source: Source, device: int | None, jobs: int, progress: Callable[[int, int], None]
) -> tuple[tuple[int, ...], TraceReport | None]:
    """Return the devices of a trace, and the report on it unless it lacks the device that is asked for."""
    trace = read_trace(source, jobs=jobs, progress=progress)
    if device is None:
        return trace.devices, examine(trace)
    return trace.devices, examine(trace.on_device(device)) if device in trace.devices else None


def report_on(traces: Sequence[TraceReport]) -> Report:
    """Join the reports on single traces: the recording's main phase first, then by rank."""
    order = sorted(traces, key=lambda t: (_phase_order(t.phase), -1 if t.rank is None else t.rank))
    findings = diagnose(order)
    return Report(
        tbperf=__version__,
        verdict=(*verdict(order[0]), *recommendation(order[0], findings)) if order else (),
        traces=tuple(order),
        findings=findings,
        skipped=tuple(s for s in order[0].skipped if all(s in t.skipped for t in order)) if order else (),
    )


def _phase_order(phase: str | None) -> int:
    phases = ("train", "predict", "val")
    return phases.index(phase) if phase in phases else len(phases)
