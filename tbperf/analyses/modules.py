"""What each module of the model costs, where the recorder wrote Python calls (``--stacks``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import NOTHING, Tiling, sum_by
from tbperf.trace import NONE

if TYPE_CHECKING:
    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Trace

_MODULE = re.compile(r"nn\.Module: (.+)")


@dataclass(frozen=True)
class Module:
    """The calls of one module, by its path from the outermost one."""

    path: str
    calls: int
    self_ns: int
    """Host time in it and in no module that it calls."""
    gpu_ns: int | None
    """Durations of device work launched while it was the innermost module."""
    backward_gpu_ns: int | None
    """Durations of device work of the backward of operators that it called, tied by their sequence numbers."""


def has_modules(trace: Trace) -> bool:
    """Tell whether the trace holds calls of modules."""
    return bool(trace.named(trace.python, _MODULE.match).any())


@dataclass(frozen=True)
class ModuleTimes:
    """When each module was the innermost one."""

    paths: tuple[str, ...]
    """From the outermost module, with «/» between."""
    calls: Ns
    """How often each was called."""
    innermost: Mapping[int, Tiling]
    """By thread; labels index ``paths``."""


def tile_modules(trace: Trace) -> ModuleTimes:
    """Tile each thread by the innermost module."""
    names = [match[1] if (match := _MODULE.match(text)) else "" for text in trace.strings.texts]
    is_module = np.array([bool(name) for name in names], np.bool_)
    rows = np.flatnonzero(is_module[trace.python["name"]])
    calls = trace.python.rows(rows)
    path_of = np.full(len(calls), NONE, np.int64)
    paths: dict[str, int] = {}
    tilings: dict[int, Tiling] = {}
    for thread in np.unique(calls["thread"]).tolist():
        mine = np.flatnonzero(calls["thread"] == thread)
        mine = mine[np.lexsort((-calls.end_ns[mine], calls["start_ns"][mine]))]
        open_calls: list[tuple[int, str]] = []
        found = []
        columns = (calls[name][mine].tolist() for name in ("start_ns", "dur_ns", "name"))
        for start, dur, name in zip(*columns, strict=True):
            while open_calls and open_calls[-1][0] <= start:
                open_calls.pop()
            path = f"{open_calls[-1][1]}/{names[name]}" if open_calls else names[name]
            open_calls.append((start + dur, path))
            found.append(paths.setdefault(path, len(paths)))
        path_of[mine] = found
        inner = Tiling.innermost(calls["start_ns"][mine], calls.end_ns[mine])
        tilings[thread] = Tiling(inner.start, inner.end, path_of[mine][inner.label])
    return ModuleTimes(tuple(paths), np.bincount(path_of, minlength=len(paths)), tilings)


def sum_modules(trace: Trace) -> Rows[Module]:
    """Sum calls of modules by path."""
    times = tile_modules(trace)
    count = len(times.paths)
    host = np.zeros(count, np.int64)
    for tiling in times.innermost.values():
        host += tiling.total_ns_by_label(count)
    owner, is_backward = modules_of_gpu_work(trace, times)
    dur = trace.gpu["dur_ns"]
    called, back = (owner != NOTHING) & ~is_backward, (owner != NOTHING) & is_backward
    forward, backward = sum_by(owner[called], dur[called], count), sum_by(owner[back], dur[back], count)
    found = [
        Module(
            path=path,
            calls=int(times.calls[code]),
            self_ns=int(host[code]),
            gpu_ns=int(forward[code]) if trace.devices else None,
            backward_gpu_ns=int(backward[code]) if trace.devices else None,
        )
        for code, path in enumerate(times.paths)
    ]
    return Rows(sorted(found, key=lambda row: -((row.gpu_ns or 0) + (row.backward_gpu_ns or 0) or row.self_ns)))


def modules_of_gpu_work(trace: Trace, times: ModuleTimes) -> tuple[Ns, npt.NDArray[np.bool_]]:
    """Return the module of each row of the gpu table, `NOTHING` where it has none, and whether by its backward.

    Work belongs to the module that was innermost when it was launched; what autograd launches in a thread of its own
    belongs to the module that called the operator whose backward it is.
    """
    owner = np.full(len(trace.gpu), NOTHING, np.int64)
    is_backward = np.zeros(len(trace.gpu), np.bool_)
    linked = np.flatnonzero(trace.launched_by >= 0)
    if not linked.size or not times.paths:
        return owner, is_backward
    threads = trace.api["thread"][trace.launched_by[linked]]
    for thread, tiling in times.innermost.items():
        mine = linked[threads == thread]
        owner[mine] = tiling.at(trace.gpu_launch_ns[mine])
    module_of_sequence = _module_by_sequence(trace, times.innermost)
    open_ = owner[linked] == NOTHING
    for thread in np.unique(threads[open_]).tolist():
        mine = linked[(threads == thread) & open_]
        ops = np.flatnonzero((trace.ops["thread"] == thread) & (trace.ops["sequence"] != NONE))
        inner = Tiling.innermost(trace.ops["start_ns"][ops], trace.ops.end_ns[ops])
        op = inner.at(trace.gpu_launch_ns[mine])
        known = op >= 0
        sequence = trace.ops["sequence"][ops[op[known]]]
        owner[mine[known]] = [module_of_sequence.get(number, NOTHING) for number in sequence.tolist()]
        is_backward[mine] = True
    return owner, is_backward


def _module_by_sequence(trace: Trace, tilings: Mapping[int, Tiling]) -> dict[int, int]:
    """Return the module in which the operator of each sequence number was called."""
    found: dict[int, int] = {}
    for thread, tiling in tilings.items():
        ops = np.flatnonzero((trace.ops["thread"] == thread) & (trace.ops["sequence"] != NONE))
        module = tiling.at(trace.ops["start_ns"][ops])
        inside = module >= 0
        found.update(zip(trace.ops["sequence"][ops[inside]].tolist(), module[inside].tolist(), strict=True))
    return found
