"""One run as figures: what a step takes by column, and how its steps scatter."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tbperf.comparison.noise import MEDIAN, Series, Unrest, mean_of, median_of, unrest_of
from tbperf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.analyses import TraceReport
    from tbperf.report import Report
    from tbperf.trace import LoggedSteps

LOG, PROFILE, WINDOW = "log", "profile", "window"
"""Where steps come from: the log of all unprofiled steps, the profiled ones, or nothing but the window as a whole."""

STEP = "step"
STAGE, CAUSE = "stage.", "cause."
WORK = "work."
"""Columns of device work by the stage that launched it."""
NO_STAGE = "(no stage)"
PROCESSES = "processes"
IMAGE = "image"
"""Columns that are no time a step: processes that step at once, and the time of a single image."""
COUNT = "count."
"""Columns of numbers, which do not drift with times."""

_FEWEST_LOGGED = 8


@dataclass(frozen=True)
class Recorded:
    """One phase of one run.  Times are nanoseconds a step, means over ranks."""

    name: str
    phase: str | None
    source: str
    """Where the step times come from."""
    traces: tuple[TraceReport, ...]
    timed: tuple[Series, ...]
    """Steps with the columns `STEP` and stages."""
    profiled: tuple[Series, ...]
    """Profiled steps with the columns of devices."""
    images: float | None
    """Images a step and process."""

    @property
    def steps(self) -> int:
        """Steps that the step time is the mean of; 0 where none are marked."""
        return 0 if self.source == WINDOW else round(sum(float(one.weight.sum()) for one in self.timed))

    @property
    def on_device(self) -> bool:
        """Whether the recording has device work."""
        return any(trace.devices for trace in self.traces)

    @property
    def windows(self) -> float:
        """Profiled steps; the number of traces where none are marked: what totals are divided by."""
        return float(sum(len(trace.steps) for trace in self.traces)) or float(len(self.traces))

    @property
    def processes(self) -> int:
        """Processes that step at the same time."""
        ranks = {trace.rank for trace in self.traces}
        return max(len(ranks), *(trace.world_size or 1 for trace in self.traces))

    @cached_property
    def unrest(self) -> Unrest:
        """How much its steps differ among themselves."""
        return unrest_of(self.timed, STEP)

    @cached_property
    def means(self) -> dict[str, float]:
        """Every column's figure."""
        names = dict.fromkeys(name for one in self.timed for name in one.columns)
        found = {name: mean_of(self.timed, name) for name in names}
        found[STEP + MEDIAN] = median_of(self.timed, STEP)
        if self.images:
            found[IMAGE] = found[STEP] / self.images
        found[PROCESSES] = float(self.processes)
        return found | dict(self._totals())

    def sampled_mean(self, column: str) -> float:
        """Return the mean of a column over the profiled steps."""
        return mean_of(self.profiled, column)

    def _totals(self) -> Iterator[tuple[str, float]]:
        per = self.windows
        devices = [row for trace in self.traces for row in trace.devices]
        if devices:
            for column, field in _PARTITION.items():
                yield column, sum(getattr(row, field) for row in devices) / per
            for cause in dict.fromkeys(row.cause for trace in self.traces for row in trace.idle):
                yield CAUSE + cause, sum(r.idle_ns for t in self.traces for r in t.idle if r.cause == cause) / per
            for stage in dict.fromkeys(row.stage for trace in self.traces for row in trace.stages if row.gpu_ns):
                work = sum(row.gpu_ns or 0 for trace in self.traces for row in trace.stages if row.stage == stage)
                yield WORK + (stage or NO_STAGE), work / per
            yield COUNT + "kernels", sum(row.kernels for row in devices) / per
            yield COUNT + "copies", sum(row.memcpys for row in devices) / per
        launches = [trace.launches for trace in self.traces if trace.launches is not None]
        if launches:
            yield COUNT + "launches", sum(row.calls for row in launches) / per
            yield COUNT + "syncs", sum(row.calls for trace in self.traces for row in trace.syncs) / per


_PARTITION = {
    "window": "window_ns",
    "busy": "busy_ns",
    "idle": "idle_ns",
    "compute": "compute_ns",
    "exposed_comm": "exposed_comm_ns",
    "exposed_memcpy": "exposed_memcpy_ns",
    "exposed_memset": "exposed_memset_ns",
}


def phases_of(report: Report) -> tuple[str | None, ...]:
    """Return the phases of a report, its main phase first."""
    return tuple(dict.fromkeys(trace.phase for trace in report.traces))


def offers_log(report: Report, phase: str | None) -> bool:
    """Tell whether there are enough steps without the profiler to say what a step takes."""
    return sum(log.steps for log in report.logged_steps if log.phase == phase) >= _FEWEST_LOGGED


def runs_of(report: Report, phase: str | None, source: str) -> list[Recorded]:
    """Return the runs of a report, one for each run folder; their step times from ``source``, if there are such.

    Raises UsageError for a run in which nothing took any time.
    """
    runs: dict[str | None, list[TraceReport]] = {}
    for trace in report.traces:
        if trace.phase == phase:
            runs.setdefault(trace.run.folder if trace.run else None, []).append(trace)
    logs = [log for log in report.logged_steps if log.phase == phase]
    found = [
        _recorded(traces, [log for log in logs if log.folder == folder] if source == LOG else [])
        for folder, traces in runs.items()
    ]
    for run in found:
        if not run.means[STEP]:
            raise UsageError(f"{run.name}: holds no step, no device work and no host events", "record it again")
    return found


def _recorded(traces: Sequence[TraceReport], logs: Sequence[LoggedSteps]) -> Recorded:
    first = traces[0]
    profiled = tuple(_profiled(trace) for trace in traces if trace.steps)
    images = _images(logs) if logs else None
    timed = tuple(map(_logged, logs)) or profiled or tuple(map(_whole, traces))
    source = LOG if logs else PROFILE if profiled else WINDOW
    return Recorded(
        name=first.run.folder if first.run else first.path,
        phase=first.phase,
        source=source,
        traces=tuple(traces),
        timed=timed,
        profiled=profiled,
        images=None if source == WINDOW else images or _batch(first),
    )


def _logged(log: LoggedSteps) -> Series:
    weight = np.full(len(log.dur_ns), log.steps_per_row, np.float64)
    weight[-1] = log.steps - log.steps_per_row * (len(log.dur_ns) - 1)
    return Series(weight, _columns(log.dur_ns, {name: list(times) for name, times in log.stages.items()}))


def _profiled(trace: TraceReport) -> Series:
    stages = dict.fromkeys(stage for step in trace.steps for stage in step.stage)
    columns = _columns(
        [step.dur_ns for step in trace.steps],
        {name: [step.stage.get(name, 0) for step in trace.steps] for name in stages},
    )
    if trace.devices:
        columns["window"] = columns[STEP]
        columns["busy"] = np.array([step.busy_ns or 0 for step in trace.steps], np.float64)
        columns["idle"] = np.array([step.idle_ns or 0 for step in trace.steps], np.float64)
        for cause in dict.fromkeys(cause for step in trace.steps for cause in step.cause):
            columns[CAUSE + cause] = np.array([step.cause.get(cause, 0) for step in trace.steps], np.float64)
    return Series(np.ones(len(trace.steps)), columns)


def _columns(dur_ns: Sequence[int], stages: dict[str, list[int]]) -> dict[str, np.ndarray]:
    columns = {STEP: np.array(dur_ns, np.float64)}
    named = np.zeros(len(dur_ns))
    for name, times in stages.items():
        columns[STAGE + name] = np.array(times, np.float64)
        named += columns[STAGE + name]
    columns[STAGE + NO_STAGE] = np.maximum(columns[STEP] - named, 0)
    return columns


def _whole(trace: TraceReport) -> Series:
    """Return a trace without marked steps as a single one."""
    device = max((row.window_ns for row in trace.devices), default=0)
    stages = {row.stage or NO_STAGE: float(row.host_ns) for row in trace.stages}
    columns = {STEP: float(device or sum(stages.values())), **{STAGE + name: ns for name, ns in stages.items()}}
    return Series(np.ones(1), {name: np.array([value]) for name, value in columns.items()})


def _images(logs: Sequence[LoggedSteps]) -> float | None:
    counts = [np.array(log.images) for log in logs if log.images is not None]
    return float(np.concatenate(counts).mean()) if len(counts) == len(logs) else None


def _batch(trace: TraceReport) -> float | None:
    """Return the images of a step and process by the arguments of the run."""
    if trace.run is None or trace.phase is None:
        return None
    batch = trace.run.arguments.get(trace.phase, {}).get("batch")
    if not isinstance(batch, int) or batch <= 0:
        return None
    return batch / (trace.world_size or 1)
