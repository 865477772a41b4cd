"""What each step of a run cost, as series over the steps for TensorBoard's Scalars dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.idle import CAUSES, HostActivity, Ledger
from tbperf.analyses.steps import list_steps
from tbperf.intervals import Spans
from tbperf.trace import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.readers.run import LoggedStep
    from tbperf.trace import Trace

PREFIX = "tbperf/"

_MS = 1e6
_DATALOAD = "dataload"


@dataclass(frozen=True)
class Series:
    """One value a step."""

    tag: str
    step: tuple[int, ...]
    unix_ns: tuple[int, ...]
    """When each step began; 0 where the recorder does not tell."""
    value: tuple[float, ...]


def series_of_log(steps: Sequence[LoggedStep]) -> Iterator[Series]:
    """Yield what the recorder noted of every step of one phase and rank, profiled or not."""
    steps = sorted(steps, key=lambda step: step.step)
    with_images = [step for step in steps if step.images and step.dur_ns > 0]
    yield _logged("step_time_ms", steps, [step.dur_ns / _MS for step in steps])
    yield _logged("images_per_second", with_images, [1e9 * (s.images or 0) / s.dur_ns for s in with_images])
    waits = [step for step in steps if _DATALOAD in step.stages]
    yield _logged("data_wait_ms", waits, [step.stages[_DATALOAD] / _MS for step in waits])


def _logged(name: str, steps: Sequence[LoggedStep], values: Sequence[float]) -> Series:
    return Series(PREFIX + name, tuple(s.step for s in steps), tuple(s.unix_ns for s in steps), tuple(values))


def series_of_trace(trace: Trace) -> Iterator[Series]:
    """Yield what a trace tells of its steps: their length, and what devices did and waited for in them."""
    steps = trace.steps
    if not len(steps):
        return
    dur = steps.end_ns - steps.start_ns
    yield _of_steps(trace, "step_time_ms", dur / _MS)
    batch = trace.recording.get("batch")
    if isinstance(batch, int) and batch > 0:
        yield _of_steps(trace, "images_per_second", 1e9 * batch / dur)
    if _DATALOAD in trace.stage_names:
        waiting = trace.stage_tiling.spans_of(trace.stage_names.index(_DATALOAD))
        yield _of_steps(trace, "data_wait_ms", waiting.total_within(steps.start_ns, steps.end_ns) / _MS)
    if trace.devices:
        busy = np.array([row.busy_ns or 0 for row in list_steps(trace)])
        yield _of_steps(trace, "gpu_busy_percent", 100 * busy / dur)
    host = trace.once(HostActivity)
    for device in trace.devices:
        pieces = Ledger(trace, host, device).pieces
        for cause, name in enumerate(CAUSES):
            mine = pieces.cause == cause
            if mine.any():
                idle = Spans.merged(pieces.start[mine], pieces.end[mine])
                values = idle.total_within(steps.start_ns, steps.end_ns) / _MS
                yield _of_steps(trace, f"idle_ms/{_of_device(trace, device)}{name}", values)
    for series in np.unique(trace.samples["series"]).tolist():
        if trace.strings[series] == "power_watts":
            yield from _sampled(trace, series)


def _of_device(trace: Trace, device: int) -> str:
    return f"gpu{device}/" if len(trace.devices) > 1 else ""


def _sampled(trace: Trace, series: int) -> Iterator[Series]:
    """Yield the mean of the samples in each step that has some."""
    rows = trace.samples.rows(trace.samples["series"] == series)
    step = trace.steps.at(rows["start_ns"])
    devices = np.unique(rows["device"]).tolist()
    for device in devices:
        mine = (rows["device"] == device) & (step >= 0)
        count = np.bincount(step[mine], minlength=len(trace.steps))
        total = np.bincount(step[mine], weights=rows["value"][mine], minlength=len(trace.steps))
        where = np.flatnonzero(count)
        name = trace.strings[series] + (f"/gpu{device}" if len(devices) > 1 and device != NONE else "")
        if where.size:
            yield _of_steps(trace, name, total[where] / count[where], where)


def _of_steps(trace: Trace, name: str, values: npt.NDArray[np.float64], where: Ns | None = None) -> Series:
    steps = trace.steps
    chosen = np.arange(len(steps)) if where is None else where
    number = steps.number if len(np.unique(steps.number)) == len(steps) else np.arange(len(steps))
    began = steps.start_ns + trace.origin_unix_ns if trace.origin_unix_ns is not None else np.zeros_like(number)
    return Series(PREFIX + name, tuple(number[chosen].tolist()), tuple(began[chosen].tolist()), tuple(values.tolist()))


def joined(logged: Sequence[Series], traced: Sequence[Series]) -> list[Series]:
    """Let the log of all steps stand for what a trace tells of its few."""
    known = {series.tag for series in logged if series.step}
    return [series for series in (*logged, *(s for s in traced if s.tag not in known)) if series.step]
