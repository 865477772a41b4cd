"""What each module of the model costs, forward and backward, and what has no module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.module_calls import time_modules
from tbperf.analyses.rows import Rows
from tbperf.analyses.steps import host_window
from tbperf.intervals import NOTHING, Spans, sum_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tbperf.analyses.module_calls import ModuleTimes
    from tbperf.intervals import Ns
    from tbperf.trace import Trace


@dataclass(frozen=True)
class Module:
    """The calls of one module; cost is GPU work or, in a trace without any, host time in operators."""

    path: str | None
    """As the model names it, such as model.22.cv2; null for what is in no module."""
    kind: str | None
    """Its class, where the recorder tells."""
    part: str | None
    """Backbone, neck or head, where the recorder tells."""
    level: int
    """How many modules of this list are around it; those inside a module follow it."""
    calls: int
    self_ns: int
    """Host time in it and in no module that it calls; of the row without a module, time of the steps (or of the trace,
    without steps) in which no thread was in one."""
    op_ns: int
    """Host time in operators while it was the innermost module."""
    backward_op_ns: int
    """Host time in the backward of operators that it called, tied by their sequence numbers."""
    gpu_ns: int | None
    """Durations of device work launched while it was the innermost module."""
    backward_gpu_ns: int | None
    """Durations of device work of the backward of operators that it called."""
    share: float
    """Its own cost, backward included, of the whole; the shares sum to 1."""
    total_ns: int
    """Its cost with that of the modules inside it."""
    total_backward_ns: int
    """Part of ``total_ns`` in backward."""
    total_share: float
    """``total_ns`` of the whole; those of level 0 sum to 1."""

    @property
    def own_ns(self) -> int:
        """Its cost without that of the modules inside it, backward included."""
        return self.own_backward_ns + (self.op_ns if self.gpu_ns is None else self.gpu_ns)

    @property
    def own_backward_ns(self) -> int:
        """Part of `own_ns` in backward."""
        return self.backward_op_ns if self.backward_gpu_ns is None else self.backward_gpu_ns


@dataclass(frozen=True)
class ModelPart:
    """Backbone, neck or head: its cost is GPU work or, in a trace without any, host time in operators."""

    part: str | None
    """Null for what is in no module of a known part."""
    total_ns: int
    backward_ns: int
    """Part of ``total_ns`` in backward."""
    share: float
    """Of the whole; the shares sum to 1."""


@dataclass(frozen=True)
class Modules:
    """What the modules of the model cost."""

    source: str
    """What told them apart: Python calls (``python``), the recorder's ranges (``ranges``), or operators with the
    shapes of their weights (``shapes``)."""
    rows: Rows[Module]
    parts: Rows[ModelPart]


def sum_modules(trace: Trace) -> Modules:
    """Sum calls by module; the whole is all device work or, without any, all time in operators, over all threads."""
    times = trace.once(time_modules)
    if times is None:
        raise ValueError("nothing in the trace tells modules apart")
    sums = _Sums(trace, times)
    rows = list(sums.rows())
    return Modules(times.source, Rows(rows), Rows(_parts(rows, sums.whole_ns)))


class _Sums:
    """Times by module: arrays with an entry a module, and behind them one for what is in no module."""

    def __init__(self, trace: Trace, times: ModuleTimes) -> None:
        self._trace = trace
        self._times = times
        count = len(times.names)
        inside = Spans.empty()
        self._host = np.zeros(count + 1, np.int64)
        self._ops = np.zeros((2, count + 1), np.int64)
        for thread in np.unique(trace.ops["thread"]).tolist():
            mine = trace.ops["thread"] == thread
            busy = Spans.merged(trace.ops["start_ns"][mine], trace.ops.end_ns[mine])
            for direction, tilings in enumerate((times.innermost, times.backward)):
                if thread in tilings:
                    self._ops[direction, :count] += tilings[thread].within(busy).total_ns_by_label(count)
            self._ops[0, count] += busy.total_ns
        for tiling in times.innermost.values():
            self._host[:count] += tiling.total_ns_by_label(count)
            inside |= tiling.spans()
        self._host[count] = (host_window(trace) - inside).total_ns
        self._ops[0, count] -= int(self._ops[:, :count].sum())
        owner, is_backward = modules_of_gpu_work(trace, times)
        owner = np.where(owner == NOTHING, count, owner)
        gpu = [sum_by(owner[which], trace.gpu["dur_ns"][which], count + 1) for which in (~is_backward, is_backward)]
        self._gpu = np.stack(gpu)
        self._cost = self._gpu if trace.devices else self._ops
        self.whole_ns = max(1, int(self._cost.sum()))
        self._total = self._cost.copy()
        # Parents come before their children.
        for index in range(count - 1, -1, -1):
            if times.parent[index] != NOTHING:
                self._total[:, times.parent[index]] += self._total[:, index]

    def rows(self) -> Iterator[Module]:
        """Yield each module followed by those inside it, in the order of their first calls; last what is in none."""
        below: dict[int, list[int]] = {}
        for index, parent in enumerate(self._times.parent):
            below.setdefault(parent, []).append(index)
        open_ = [(index, 0) for index in reversed(below.get(NOTHING, []))]
        while open_:
            index, level = open_.pop()
            yield self._row(index, level)
            open_ += [(child, level + 1) for child in reversed(below.get(index, []))]
        yield self._row(len(self._times.names), 0)

    def _row(self, index: int, level: int) -> Module:
        times, known = self._times, bool(self._trace.devices)
        name = times.names[index] if index < len(times.names) else None
        return Module(
            path=None if name is None else name.path,
            kind=None if name is None else name.kind,
            part=None if name is None else name.part,
            level=level,
            calls=0 if name is None else int(times.calls[index]),
            self_ns=int(self._host[index]),
            op_ns=int(self._ops[0, index]),
            backward_op_ns=int(self._ops[1, index]),
            gpu_ns=int(self._gpu[0, index]) if known else None,
            backward_gpu_ns=int(self._gpu[1, index]) if known else None,
            share=int(self._cost[:, index].sum()) / self.whole_ns,
            total_ns=int(self._total[:, index].sum()),
            total_backward_ns=int(self._total[1, index]),
            total_share=int(self._total[:, index].sum()) / self.whole_ns,
        )


def _parts(rows: list[Module], whole_ns: int) -> Iterator[ModelPart]:
    """Sum the outermost modules by part; nothing where the recorder did not tell parts."""
    if not any(row.part for row in rows):
        return
    outermost = [row for row in rows if row.level == 0]
    for part in [*dict.fromkeys(row.part for row in outermost if row.part), None]:
        mine = [row for row in outermost if row.part == part]
        total_ns = sum(row.total_ns for row in mine)
        yield ModelPart(part, total_ns, sum(row.total_backward_ns for row in mine), total_ns / whole_ns)


def modules_of_gpu_work(trace: Trace, times: ModuleTimes) -> tuple[Ns, npt.NDArray[np.bool_]]:
    """Return the module of each row of the gpu table, `NOTHING` where it has none, and whether by its backward.

    Work belongs to the module that was innermost when it was launched; what autograd launches belongs to the module
    that called the operator whose backward it is.
    """
    owner = np.full(len(trace.gpu), NOTHING, np.int64)
    is_backward = np.zeros(len(trace.gpu), np.bool_)
    linked = np.flatnonzero(trace.launched_by >= 0)
    if not linked.size:
        return owner, is_backward
    threads = trace.api["thread"][trace.launched_by[linked]]
    for tilings in (times.innermost, times.backward):
        for thread, tiling in tilings.items():
            mine = linked[threads == thread]
            mine = mine[owner[mine] == NOTHING]
            owner[mine] = tiling.at(trace.gpu_launch_ns[mine])
            is_backward[mine] = (owner[mine] != NOTHING) & (tilings is times.backward)
    return owner, is_backward
