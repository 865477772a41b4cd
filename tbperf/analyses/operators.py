"""Framework operators on the host: what each costs by itself, and how busy the threads are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.kernels import stages_of_groups
from tbperf.analyses.rows import Rows
from tbperf.analyses.steps import host_window, time_of_threads
from tbperf.intervals import NOTHING, Tilings, sum_by
from tbperf.trace import NONE
from tbperf.trace.stages import BACKWARD_OP

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Trace


@dataclass(frozen=True)
class Operator:
    """The calls of one operator, on all threads."""

    name: str
    calls: int
    self_ns: int
    """Host time in it and in no operator that it calls."""
    total_ns: int
    """Durations of its calls, including what they call; calls of itself inside itself count again."""
    share: float
    """Of the self time of all operators; the shares sum to 1."""
    gpu_ns: int | None
    """Durations of device work launched while it was the innermost operator."""
    backward_gpu_ns: int | None
    """Durations of device work of its backward, tied by sequence numbers; null where none are recorded."""
    stage: Mapping[str, int] = field(default_factory=dict)
    """Self time by stage."""


@dataclass(frozen=True)
class HostThread:
    """One thread of the recorded process."""

    thread: str
    main: bool
    busy_ns: int
    """Time of the steps (or of the trace, without steps) in which it was inside an operator."""
    share: float
    """Of that time."""


@dataclass(frozen=True)
class OperatorShapes:
    """The calls of one operator with inputs of the same shapes and types."""

    name: str
    shapes: str
    """Shapes, then types of the inputs, as the recorder wrote them."""
    calls: int
    self_ns: int
    share: float
    """Of the self time of all operators."""
    gpu_ns: int | None
    """Durations of device work launched while it was the innermost operator."""


def sum_operators(trace: Trace) -> Rows[Operator]:
    """Sum operators by name."""
    codes, group = np.unique(trace.ops["name"], return_inverse=True)
    sums = _Sums(trace, group, len(codes))
    backward, stages, whole = _backward_work(trace), sums.stages(), sums.whole_ns

    def row(at: int) -> Operator:
        code = int(codes[at])
        return Operator(
            name=trace.strings[code],
            calls=int(sums.calls[at]),
            self_ns=int(sums.self_ns[at]),
            total_ns=int(sums.total_ns[at]),
            share=int(sums.self_ns[at]) / whole,
            gpu_ns=int(sums.gpu_ns[at]) if trace.devices else None,
            backward_gpu_ns=None if backward is None else int(backward[code]),
            stage=stages[at],
        )

    return Rows.dearest(row, sums.self_ns)


def _backward_work(trace: Trace) -> Ns | None:
    """Return the device work of the backward of the operators of each name; None where nothing ties them.

    An operator and its backward carry one sequence number.  The backward runs in autograd's threads; of nested
    operators of one number, the outermost one is the one that was called.
    """
    ops = trace.ops
    numbered = np.flatnonzero(ops["sequence"] != NONE)
    if not trace.devices or not numbered.size or not trace.has("api"):
        return None
    is_backward = trace.named(ops, BACKWARD_OP.match)
    called = numbered[~is_backward[numbered]]
    called = called[np.lexsort((ops["start_ns"][called], ops["sequence"][called]))]
    sequence, first = np.unique(ops["sequence"][called], return_index=True)
    behind = numbered[is_backward[numbered]]
    linked = np.flatnonzero(trace.launched_by >= 0)
    threads = trace.api["thread"][trace.launched_by[linked]]
    tilings = Tilings.innermost(ops["thread"][behind], ops["start_ns"][behind], ops.end_ns[behind])
    at = tilings.at(threads, trace.gpu_launch_ns[linked])
    inside = at != NOTHING
    number = ops["sequence"][behind[at[inside]]]
    where = np.minimum(np.searchsorted(sequence, number), max(0, len(sequence) - 1))
    tied = sequence[where] == number if len(sequence) else np.zeros(number.shape, np.bool_)
    names = ops["name"][called[first[where[tied]]]]
    return sum_by(names.astype(np.int64), trace.gpu["dur_ns"][linked[inside][tied]], len(trace.strings.texts))


def has_shapes(trace: Trace) -> bool:
    """Tell whether the shapes of operators were recorded."""
    used = np.unique(trace.ops["shapes"]).tolist()
    return any(trace.strings[code] for code in used)


def sum_operator_shapes(trace: Trace) -> Rows[OperatorShapes]:
    """Sum operators by name and inputs."""
    texts = len(trace.strings.texts)
    key, group = np.unique(trace.ops["name"].astype(np.int64) * texts + trace.ops["shapes"], return_inverse=True)
    sums = _Sums(trace, group, len(key))
    whole = sums.whole_ns

    def row(at: int) -> OperatorShapes:
        name, shapes = divmod(int(key[at]), texts)
        return OperatorShapes(
            name=trace.strings[name],
            shapes=trace.strings[shapes],
            calls=int(sums.calls[at]),
            self_ns=int(sums.self_ns[at]),
            share=int(sums.self_ns[at]) / whole,
            gpu_ns=int(sums.gpu_ns[at]) if trace.devices else None,
        )

    return Rows.dearest(row, sums.self_ns)


class _Sums:
    """Times of the operators of a trace by group: an array with an entry a group for each sort of time."""

    def __init__(self, trace: Trace, group: Ns, groups: int) -> None:
        """Sum by ``group``: a number below ``groups`` for each row of the operators."""
        ops = trace.ops
        inner = trace.innermost(ops).relabelled(group)
        self._trace, self._inner = trace, inner
        self.calls = np.bincount(group, minlength=groups)
        self.total_ns = sum_by(group, ops["dur_ns"], groups)
        self.self_ns = sum_by(inner.label, inner.end - inner.start, groups)
        called = np.flatnonzero(trace.launched_by >= 0)
        threads = trace.api["thread"][trace.launched_by[called]] if called.size else called
        inside = inner.at(threads, trace.gpu_launch_ns[called])
        found = inside != NOTHING
        self.gpu_ns = sum_by(inside[found], trace.gpu["dur_ns"][called[found]], groups)

    @property
    def whole_ns(self) -> int:
        """Self time of all operators; at least 1, to divide by."""
        return max(1, int(self.self_ns.sum()))

    def stages(self) -> list[dict[str, int]]:
        """Return the self time of each group by stage."""
        inner = self._inner
        stage = self._trace.stage_tiling.at(inner.start)
        return stages_of_groups(self._trace, inner.label, stage, inner.end - inner.start, len(self.calls))


def measure_threads(trace: Trace) -> Rows[HostThread]:
    """Measure how busy each thread is with operators."""
    window = host_window(trace)
    busy_ns = time_of_threads(trace, trace.ops, window)
    found = []
    for thread in np.unique(trace.ops["thread"]).tolist():
        busy, about = busy_ns[thread], trace.threads[thread]
        found.append(
            HostThread(
                thread=about.name or f"thread {about.tid}",
                main=thread == trace.main_thread,
                busy_ns=busy,
                share=busy / window.total_ns,
            )
        )
    return Rows.first(sorted(found, key=lambda row: -row.busy_ns), lambda row: row.busy_ns)
