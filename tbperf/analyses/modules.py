"""What each module of the model costs, where the recorder wrote Python calls (``--stacks``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import NOTHING, Tiling, sum_by
from tbperf.trace import NONE

if TYPE_CHECKING:
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


def sum_modules(trace: Trace) -> Rows[Module]:
    """Sum calls of modules by path."""
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
        for call in mine.tolist():
            start, end = int(calls["start_ns"][call]), int(calls.end_ns[call])
            while open_calls and open_calls[-1][0] <= start:
                open_calls.pop()
            name = names[calls["name"][call]]
            path = f"{open_calls[-1][1]}/{name}" if open_calls else name
            open_calls.append((end, path))
            path_of[call] = paths.setdefault(path, len(paths))
        inner = Tiling.innermost(calls["start_ns"][mine], calls.end_ns[mine])
        tilings[thread] = Tiling(inner.start, inner.end, path_of[mine][inner.label])
    count = len(paths)
    host = sum((tiling.total_ns_by_label(count) for tiling in tilings.values()), np.zeros(count, np.int64))
    forward, backward = _device_work(trace, tilings, count)
    number = np.bincount(path_of, minlength=count)
    found = [
        Module(
            path=path,
            calls=int(number[code]),
            self_ns=int(host[code]),
            gpu_ns=int(forward[code]) if trace.devices else None,
            backward_gpu_ns=int(backward[code]) if trace.devices else None,
        )
        for path, code in paths.items()
    ]
    return Rows(sorted(found, key=lambda row: -((row.gpu_ns or 0) + (row.backward_gpu_ns or 0) or row.self_ns)))


def _device_work(trace: Trace, tilings: dict[int, Tiling], count: int) -> tuple[Ns, Ns]:
    """Return the durations of device work by module: launched inside it, and in the backward of its operators."""
    forward, backward = np.zeros(count, np.int64), np.zeros(count, np.int64)
    linked = np.flatnonzero(trace.launched_by >= 0)
    if not linked.size:
        return forward, backward
    threads = trace.api["thread"][trace.launched_by[linked]]
    owner = np.full(linked.shape, NOTHING, np.int64)
    for thread, tiling in tilings.items():
        mine = threads == thread
        owner[mine] = tiling.at(trace.gpu_launch_ns[linked[mine]])
    dur = trace.gpu["dur_ns"][linked]
    forward += sum_by(owner[owner >= 0], dur[owner >= 0], count)
    module_of_sequence = _module_by_sequence(trace, tilings)
    for thread in np.unique(threads[owner < 0]).tolist():
        mine = np.flatnonzero((threads == thread) & (owner < 0))
        ops = np.flatnonzero((trace.ops["thread"] == thread) & (trace.ops["sequence"] != NONE))
        inner = Tiling.innermost(trace.ops["start_ns"][ops], trace.ops.end_ns[ops])
        op = inner.at(trace.gpu_launch_ns[linked[mine]])
        known = op >= 0
        sequence = trace.ops["sequence"][ops[op[known]]]
        module = np.array([module_of_sequence.get(number, NOTHING) for number in sequence.tolist()], np.int64)
        tied = module >= 0
        backward += sum_by(module[tied], dur[mine[known][tied]], count)
    return forward, backward


def _module_by_sequence(trace: Trace, tilings: dict[int, Tiling]) -> dict[int, int]:
    """Return the module in which the operator of each sequence number was called."""
    found: dict[int, int] = {}
    for thread, tiling in tilings.items():
        ops = np.flatnonzero((trace.ops["thread"] == thread) & (trace.ops["sequence"] != NONE))
        module = tiling.at(trace.ops["start_ns"][ops])
        inside = module >= 0
        found.update(zip(trace.ops["sequence"][ops[inside]].tolist(), module[inside].tolist(), strict=True))
    return found
