"""What each module of the model costs, forward and backward, and what has no module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.module_calls import time_modules
from tbperf.analyses.rows import MOST_ROWS, Rest, Rows
from tbperf.analyses.steps import host_window
from tbperf.intervals import NOTHING, Spans, Tilings, sum_by

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
    deeper: int = 0
    """Modules that lie too deep to have rows; they count for the one around them that has."""
    deeper_ns: int = 0
    """Host time in those and in no module that they call."""


def sum_modules(trace: Trace) -> Modules:
    """Sum calls by module; the whole is all device work or, without any, all time in operators, over all threads."""
    times = trace.once(time_modules)
    if times is None:
        raise ValueError("nothing in the trace tells modules apart")
    sums = _Sums(trace, times)
    return Modules(times.source, sums.rows(), Rows(sums.parts()), times.deeper, times.deeper_ns)


class _Sums:
    """Times by module: arrays with an entry a module, and behind them one for what is in no module."""

    def __init__(self, trace: Trace, times: ModuleTimes) -> None:
        self._trace = trace
        self._times = times
        count = len(times.names)
        inside = times.innermost
        self._host = np.zeros(count + 1, np.int64)
        self._host[:count] = inside.total_ns_by_label(count)
        self._host[count] = (host_window(trace) - Spans.merged(inside.start, inside.end)).total_ns
        busy = Tilings.merged(trace.ops["thread"], trace.ops["start_ns"], trace.ops.end_ns)
        self._ops = np.zeros((2, count + 1), np.int64)
        for direction, tilings in enumerate((times.innermost, times.backward)):
            self._ops[direction, :count] = (tilings & busy).total_ns_by_label(count)
        self._ops[0, count] = int((busy.end - busy.start).sum()) - int(self._ops[:, :count].sum())
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

    def rows(self) -> Rows[Module]:
        """Return each module followed by those inside it, in the order of their first calls; last what is in none."""
        order = np.array(list(self._outer_first()), np.int64).reshape(-1, 2)
        index = order[:, 0]
        # What is around a module costs as much and comes before it, so that the dearest have theirs around them.
        dearest = np.argsort(-self._total.sum(axis=0)[index], kind="stable")
        kept, left = np.sort(dearest[: MOST_ROWS - 1]), dearest[MOST_ROWS - 1 :]
        found = [self._row(index, level) for index, level in order[kept].tolist()]
        rows = Rows([*found, self._row(len(self._times.names), 0)])
        if left.size:
            rows.rest = Rest(left.size, int(self._cost[:, index[left]].sum()))
        return rows

    def _outer_first(self) -> Iterator[tuple[int, int]]:
        """Yield index and level of each module, followed by those inside it."""
        below: dict[int, list[int]] = {}
        for index, parent in enumerate(self._times.parent):
            below.setdefault(parent, []).append(index)
        open_ = [(index, 0) for index in reversed(below.get(NOTHING, []))]
        while open_:
            index, level = open_.pop()
            yield index, level
            open_ += [(child, level + 1) for child in reversed(below.get(index, []))]

    def parts(self) -> Iterator[ModelPart]:
        """Sum the outermost modules by part; nothing where the recorder did not tell parts."""
        if not any(name.part for name in self._times.names):
            return
        outermost = [index for index, parent in enumerate(self._times.parent) if parent == NOTHING]
        told = [self._times.names[index].part or None for index in outermost]
        parts = [*dict.fromkeys(part for part in told if part), None]
        number_of = {part: number for number, part in enumerate(parts)}
        total = np.zeros((2, len(parts)), np.int64)
        # Last, what is in no module.
        which = [number_of[part] for part in (*told, None)]
        np.add.at(total.T, which, self._total[:, [*outermost, len(self._times.names)]].T)
        for part, (forward_ns, backward_ns) in zip(parts, total.T.tolist(), strict=True):
            total_ns = forward_ns + backward_ns
            yield ModelPart(part, total_ns, backward_ns, total_ns / self.whole_ns)

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
        without = owner[linked] == NOTHING
        mine = linked[without]
        owner[mine] = tilings.at(threads[without], trace.gpu_launch_ns[mine])
        is_backward[mine] = (owner[mine] != NOTHING) & (tilings is times.backward)
    return owner, is_backward
