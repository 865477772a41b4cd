"""One rank's timeline: small typed tables on one integer-nanosecond clock, and what follows from them alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tbperf.intervals import NOTHING, Spans, Tiling, Tilings, sum_by
from tbperf.trace.stages import (
    Staging,
    annotated_stage,
    loader_work,
    matched_stage,
    own_stage,
    step_number,
    tile_stages,
)
from tbperf.trace.tables import NONE, Kind, Strings, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace.run import Run, StepAccount


AnswerT = TypeVar("AnswerT")

MOST_DEVICES = 64
"""What has work of more devices than any machine has is analyzed on the busiest."""


@dataclass(frozen=True)
class Gpu:
    """A device that the recorder describes."""

    device: int
    name: str
    memory_bytes: int | None
    compute_capability: tuple[int, int] | None = None
    multiprocessors: int | None = None


@dataclass(frozen=True)
class Thread:
    """A thread of the recorded process."""

    pid: int | str
    tid: int | str
    name: str = ""


@dataclass(frozen=True)
class Steps:
    """Steps of the program, in time order; arrays of equal length."""

    number: Ns
    start_ns: Ns
    end_ns: Ns

    def __len__(self) -> int:
        return int(self.number.size)

    def at(self, times: Ns) -> Ns:
        """Return the index of the step at each moment, `NOTHING` outside of all."""
        return Tiling(self.start_ns, self.end_ns, np.arange(len(self))).at(times)


@dataclass(frozen=True)
class Trace:
    """What one recorder saw of one process.  Analyses see this and nothing else."""

    path: str
    format: str
    bytes: int
    """Size of the file as it is stored."""
    events: int
    """Events read, of every sort."""
    gpu: Table
    api: Table
    ops: Table
    ranges: Table
    python: Table
    os: Table
    overhead: Table
    memory: Table
    samples: Table
    threads: tuple[Thread, ...]
    strings: Strings
    rank: int | None = None
    world_size: int | None = None
    """Ranks of the distributed job that this trace is part of."""
    gpus: tuple[Gpu, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    origin_unix_ns: int | None = None
    """The trace's origin on the system clock, where the recorder tells it."""
    resolution_ns: int = 1
    """Smallest step of the timestamps."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Events that could not be used, by reason; every renderer shows them."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What the recorder itself warned of."""
    truncated: bool = False
    stage_pattern: str | None = None
    """Ranges whose name has a match are stages of that name: its first group or, without one, what matches."""
    run: Run | None = None
    """The run folder that the trace lies in."""
    recording: Mapping[str, Any] = field(default_factory=dict)
    """What the recorder of this project wrote into the trace about itself."""
    more_devices: int = 0
    """Devices beyond the `MOST_DEVICES` busiest, whose work is left out."""
    more_devices_ns: int = 0
    """Durations of that work."""
    accounts: Mapping[int, StepAccount] = field(default_factory=dict)
    """What the run folder's log says of the recorded steps, by their number."""

    def has(self, table: str) -> bool:
        """Tell whether the recorder captured any of this."""
        return bool(len(getattr(self, table)))

    def texts(self, codes: npt.NDArray[Any]) -> list[str]:
        """Return the text of each code."""
        return [self.strings.texts[code] for code in codes.tolist()]

    def named(self, table: Table, accepts: Callable[[str], object]) -> npt.NDArray[np.bool_]:
        """Tell which rows of a table have a name that is accepted."""
        return self.labelled(table, lambda name: bool(accepts(name))).astype(np.bool_)

    def labelled(self, table: Table, label: Callable[[str], int]) -> Ns:
        """Return a number for each row of a table, which is asked for once for each distinct name in it."""
        return self.strings.labelled(label, table["name"])

    def once(self, question: Callable[[Trace], AnswerT]) -> AnswerT:
        """Return the answer to a question that several analyses ask, computed when it is first asked."""
        if question not in self._answers:
            self._answers[question] = question(self)
        answer: AnswerT = self._answers[question]
        return answer

    @cached_property
    def _answers(self) -> dict[Callable[[Trace], Any], Any]:
        return {}

    @cached_property
    def devices(self) -> tuple[int, ...]:
        """Devices that did something, by ordinal."""
        return tuple(np.unique(self.gpu["device"]).tolist())

    @cached_property
    def busy(self) -> Mapping[int, Spans]:
        """The time of each device in which any kernel, copy or memset ran."""
        return {device: self.gpu_spans(self.gpu["device"] == device) for device in self.devices}

    @cached_property
    def windows(self) -> Mapping[int, tuple[int, int]]:
        """Start and end of what is analysed of each device: its first start and its last end."""
        return {
            device: (
                int(self.gpu["start_ns"][self.gpu["device"] == device].min()),
                int(self.gpu.end_ns[self.gpu["device"] == device].max()),
            )
            for device in self.devices
        }

    def on_device(self, device: int) -> Trace:
        """Return the trace with the work of one device only."""
        return replace(self, gpu=self.gpu.rows(self.gpu["device"] == device))

    def on_the_busiest_devices(self) -> Trace:
        """Return the trace without the work of devices that no machine has room for."""
        devices, which = np.unique(self.gpu["device"], return_inverse=True)
        if len(devices) <= MOST_DEVICES:
            return self
        total = sum_by(which, self.gpu["dur_ns"], len(devices))
        kept = np.zeros(len(devices), np.bool_)
        kept[np.argsort(-total, kind="stable")[:MOST_DEVICES]] = True
        left, left_ns = len(devices) - MOST_DEVICES, int(total[~kept].sum())
        return replace(self, gpu=self.gpu.rows(kept[which]), more_devices=left, more_devices_ns=left_ns)

    def gpu_spans(self, where: npt.NDArray[np.bool_]) -> Spans:
        """Return the time that some rows of the gpu table cover."""
        start = self.gpu["start_ns"][where]
        return Spans.merged(start, start + self.gpu["dur_ns"][where])

    @cached_property
    def kernels(self) -> npt.NDArray[np.bool_]:
        """Which rows of the gpu table are kernels."""
        kernels: npt.NDArray[np.bool_] = self.gpu["kind"] == Kind.KERNEL
        return kernels

    @cached_property
    def computes(self) -> npt.NDArray[np.bool_]:
        """Which rows of the gpu table compute: kernels, and replays of graphs that were timed as a whole."""
        rows: npt.NDArray[np.bool_] = self.kernels | (self.gpu["kind"] == Kind.GRAPH)
        return rows

    @cached_property
    def launched_by(self) -> Ns:
        """Row of the api table that caused each row of the gpu table, `NONE` where there is no record of it.

        One call can own many rows (graph replay).
        """
        wanted, offered = self.gpu["correlation_id"], self.api["correlation_id"]
        if not len(self.api):
            return np.full(wanted.shape, NONE, np.int64)
        order = np.argsort(offered, kind="stable")
        at = np.minimum(np.searchsorted(offered[order], wanted), len(order) - 1)
        match = order[at]
        return np.where((offered[match] == wanted) & (wanted != NONE), match, NONE)

    @cached_property
    def loading(self) -> npt.NDArray[np.bool_]:
        """Which rows of the ranges table are work of loader workers, which run beside the program."""
        return self.named(self.ranges, loader_work)

    @cached_property
    def main_thread(self) -> int:
        """The thread that runs the program's loop: that of the steps, else the one busiest in operators and ranges."""
        if self._step_marks.size:
            return int(self.ranges["thread"][self._step_marks[0]])
        totals = np.zeros(max(1, len(self.threads)), np.int64)
        for table in (self.ops, self.ranges.rows(~self.loading), self.api):
            totals += sum_by(table["thread"], table["dur_ns"], totals.size)
        return int(totals.argmax())

    @cached_property
    def _step_marks(self) -> Ns:
        """Rows of the ranges table that mark steps, in order of time; (steps,).

        A profiler of the program's own that waits for its turn marks steps, too, in the middle of those that this
        project's recorder marked: such a mark begins inside a stage of a step that is marked already.
        """
        marks = (self.labelled(self.ranges, step_number) != NONE) & (self.ranges["dur_ns"] > 0)
        rows = np.flatnonzero(marks)
        rows = rows[np.argsort(self.ranges["start_ns"][rows], kind="stable")]
        staged = np.flatnonzero(self.named(self.ranges, lambda name: own_stage(name) is not None))
        if not staged.size or not rows.size:
            return rows
        thread = self.ranges["thread"]
        on_threads_with_stages = np.isin(thread[rows], thread[staged])
        if on_threads_with_stages.any():
            rows = rows[on_threads_with_stages]
        start, end = self.ranges["start_ns"][rows], self.ranges.end_ns[rows]
        reached = np.r_[start[:1], np.maximum.accumulate(end)[:-1]]
        in_a_step = start < reached
        stage = Tiling.innermost(self.ranges["start_ns"][staged], self.ranges.end_ns[staged]).at(start)
        in_a_stage = (stage != NOTHING) & (self.ranges["start_ns"][staged[stage]] < start)
        own: Ns = rows[~(in_a_step & in_a_stage)]
        return own

    @cached_property
    def steps(self) -> Steps:
        """The steps that the recorder marked (``ProfilerStep#n``)."""
        number = self.labelled(self.ranges, step_number)
        rows = self._step_marks
        start, end = self.ranges["start_ns"][rows], self.ranges.end_ns[rows]
        # Steps follow each other; where truncated timestamps make them overlap, the next start decides.
        end = np.minimum(end, np.r_[start[1:], end[-1:]])
        solid = end > start
        return Steps(number[rows][solid], start[solid], end[solid])

    @cached_property
    def _staging(self) -> Staging:
        return tile_stages(self.ranges, self.ops, self.strings, self.main_thread, self._stage_of)

    @cached_property
    def _stage_of(self) -> Callable[[str], str | None]:
        """What gives the stage of a range by its name: this recorder's names, else what annotations stand for."""
        if self.stage_pattern is not None:
            matched = matched_stage(self.stage_pattern)
            return lambda name: matched(name) or own_stage(name)
        names = {self.strings[code] for code in np.unique(self.ranges["name"]).tolist()}
        return own_stage if any(map(own_stage, names)) else annotated_stage

    @property
    def stage_tiling(self) -> Tiling:
        """The innermost stage of each moment; labels index `stage_names`."""
        return self._staging.tiling

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Stages of this trace, in order of appearance."""
        return self._staging.names

    @property
    def more_stages(self) -> tuple[int, int] | None:
        """Stages that the last one stands for, and their time; None where each stands for itself."""
        return self._staging.others

    def stage_ranges(self, stage: str) -> npt.NDArray[np.bool_]:
        """Tell which rows of the ranges table stand for a stage."""
        if stage not in self.stage_names:
            return np.zeros(len(self.ranges), np.bool_)
        rows: npt.NDArray[np.bool_] = self._staging.of_range == self.stage_names.index(stage)
        return rows

    def stage_name(self, label: int) -> str | None:
        """Return the name of a label of `stage_tiling`."""
        return None if label == NOTHING else self.stage_names[label]

    def stage_calls(self, start_ns: int, end_ns: int) -> Ns:
        """Count how often each stage began in a window; 0 for a stage that no range marks."""
        stage, starts = self._staging.of_range, self.ranges["start_ns"]
        inside = (stage != NOTHING) & (starts >= start_ns) & (starts < end_ns)
        return np.bincount(stage[inside], minlength=len(self.stage_names))

    @cached_property
    def gpu_launch_ns(self) -> Ns:
        """Start of the call that caused each row of the gpu table; its own start where that is unknown."""
        if not len(self.api):
            return self.gpu["start_ns"]
        known = self.launched_by >= 0
        return np.where(known, self.api["start_ns"][self.launched_by], self.gpu["start_ns"])

    @cached_property
    def gpu_stage(self) -> Ns:
        """Stage label of each row of the gpu table: the stage that was open, on any thread, when it was launched.

        `NOTHING` where no stage was open or the launch is unknown.
        """
        stage = self.stage_tiling.at(self.gpu_launch_ns)
        return np.where(self.launched_by >= 0, stage, NOTHING)

    @cached_property
    def _innermost(self) -> dict[str, Tilings]:
        return {}

    def innermost(self, table: Table) -> Tilings:
        """Tile each thread by the innermost rows of a table; labels are row numbers of that table."""
        if table.name not in self._innermost:
            self._innermost[table.name] = Tilings.innermost(table["thread"], table["start_ns"], table.end_ns)
        return self._innermost[table.name]

    def innermost_names(self, calls: Ns) -> Ns:
        """Return the name code of what is around some rows of the api table: operator, else range, else `NOTHING`."""
        found = np.full(calls.shape, NOTHING, np.int64)
        for table in (self.ranges, self.ops):
            row = self.innermost(table).at(self.api["thread"][calls], self.api["start_ns"][calls])
            inside = row != NOTHING
            found[inside] = table["name"][row[inside]]
        return found
