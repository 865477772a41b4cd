"""When each module of the model ran, from the best of three things that a trace may hold.

1. ``python``: Python calls of modules (``nn.Module: …``), which torch's profiler writes with stacks; every module.
2. ``ranges``: ranges of the recorder of this project, by default the layers of the model.
3. ``shapes``: operators that take parameters, told apart by the shape of their weight and their order in the step;
   needs shapes of inputs.  What a module does besides (activations, concatenations) is not seen.

Backward is tied to the module whose operator carries the same sequence number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tbperf.intervals import NOTHING, Tiling, distinct
from tbperf.trace import NONE
from tbperf.trace.stages import BACKWARD_OP, ModuleName, module_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace

PYTHON_CALL = re.compile(r"nn\.Module: (.+)")

_WEIGHT_AT: Mapping[str, int] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution"), 1),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1),
    **dict.fromkeys(("linear", "batch_norm", "instance_norm", "prelu"), 1),
    **dict.fromkeys(("addmm", "layer_norm", "group_norm", "rms_norm"), 2),
    **dict.fromkeys(("embedding", "embedding_bag"), 0),
}
"""By operator: which of its inputs is the weight."""

_INPUT = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]")
"""One of the inputs in the list that the recorder wrote: its shape, or the shapes of a list of tensors."""
_SIZES = re.compile(r"\[ *[0-9]+(?: *, *[0-9]+)* *\]")


@dataclass(frozen=True)
class ModuleTimes:
    """When each module was the innermost one, and when its backward ran."""

    source: str
    """``python``, ``ranges`` or ``shapes``."""
    names: tuple[ModuleName, ...]
    parent: tuple[int, ...]
    """Index of the module around each one, `NOTHING` for the outermost; a parent comes before its children."""
    calls: Ns
    """How often each was called."""
    innermost: Mapping[int, Tiling]
    """By thread, when each was the innermost one; labels index ``names``."""
    backward: Mapping[int, Tiling]
    """By thread, when the backward of an operator of each ran, outside of all modules."""

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """The names from the outermost module down to each one, each without what the name around it says."""
        found: list[tuple[str, ...]] = []
        for name, parent in zip(self.names, self.parent, strict=True):
            above = found[parent] if parent != NOTHING else ()
            begun = self.names[parent].path + name.separator if parent != NOTHING else ""
            found.append((*above, name.path.removeprefix(begun)))
        return tuple(found)


def has_modules(trace: Trace) -> bool:
    """Tell whether anything in the trace tells modules apart."""
    return trace.once(time_modules) is not None


def called_modules(trace: Trace) -> ModuleTimes | None:
    """Return when modules ran, where their calls were recorded; None where they were not."""
    times = trace.once(time_modules)
    return times if times is not None and times.source != "shapes" else None


def time_modules(trace: Trace) -> ModuleTimes | None:
    """Return when modules ran; None where nothing in the trace tells them apart."""
    return _python_calls(trace) or _ranges(trace) or _parameters(trace)


def _python_calls(trace: Trace) -> ModuleTimes | None:
    rows = np.flatnonzero(trace.named(trace.python, PYTHON_CALL.match))
    if not rows.size:
        return None
    calls = trace.python.rows(rows)
    names = {code: match[1] for code in np.unique(calls["name"]).tolist() if (match := _is_call(trace, code))}
    which = np.full(len(calls), NOTHING, np.int64)
    paths: dict[str, int] = {}
    parents: list[int] = []
    for thread in np.unique(calls["thread"]).tolist():
        mine = np.flatnonzero(calls["thread"] == thread)
        mine = mine[np.lexsort((-calls.end_ns[mine], calls["start_ns"][mine]))]
        open_calls: list[tuple[int, str]] = []
        columns = (calls[name][mine].tolist() for name in ("start_ns", "dur_ns", "name"))
        found = []
        for start, dur, name in zip(*columns, strict=True):
            while open_calls and open_calls[-1][0] <= start:
                open_calls.pop()
            around = open_calls[-1][1] if open_calls else None
            path = names[name] if around is None else f"{around}/{names[name]}"
            open_calls.append((start + dur, path))
            if path not in paths:
                paths[path] = len(paths)
                parents.append(NOTHING if around is None else paths[around])
            found.append(paths[path])
        which[mine] = found
    return _times(trace, "python", [ModuleName(path, separator="/") for path in paths], parents, (calls, which))


def _is_call(trace: Trace, code: int) -> re.Match[str] | None:
    return PYTHON_CALL.match(trace.strings[code])


def _ranges(trace: Trace) -> ModuleTimes | None:
    rows = np.flatnonzero(trace.named(trace.ranges, module_name))
    if not rows.size:
        return None
    calls = trace.ranges.rows(rows[np.argsort(trace.ranges["start_ns"][rows], kind="stable")])
    codes, first, which = np.unique(calls["name"], return_index=True, return_inverse=True)
    read = [name for code in codes.tolist() if (name := module_name(trace.strings[code])) is not None]
    # Outer modules first; those side by side as they were called.
    order = sorted(range(len(read)), key=lambda index: (read[index].path.count("."), first[index]))
    names = [read[index] for index in order]
    places = {name.path: place for place, name in enumerate(names)}
    parents = [_around(name.path, places) for name in names]
    return _times(trace, "ranges", names, parents, (calls, np.argsort(order)[which]))


def _around(path: str, places: Mapping[str, int]) -> int:
    while "." in path:
        path = path.rpartition(".")[0]
        if path in places:
            return places[path]
    return NOTHING


def _parameters(trace: Trace) -> ModuleTimes | None:
    ops = trace.ops
    rows = np.flatnonzero(trace.named(ops, lambda name: _operator(name) in _WEIGHT_AT))
    if not rows.size:
        return None
    pairs, which = distinct(ops["name"][rows], ops["shapes"][rows])
    weights = [_weight(_operator(trace.strings[name]), trace.strings[shapes]) for name, shapes in pairs]
    kinds: dict[str, int] = {}
    kind = np.array([NONE if text is None else kinds.setdefault(text, len(kinds)) for text in weights], np.int64)[which]
    rows, kind = rows[kind != NONE], kind[kind != NONE]
    kept = _outermost_forward(trace, rows)
    rows, kind = rows[kept], kind[kept]
    if not rows.size:
        return None
    order = np.argsort(ops["start_ns"][rows], kind="stable")
    rows, kind = rows[order], kind[order]
    number = _numbers(trace.steps.at(ops["start_ns"][rows]), kind)
    several = np.bincount(kind[number > 1], minlength=len(kinds)) > 0
    number[~several[kind]] = 0
    found, at = distinct(kind, number)
    texts = list(kinds)
    names = [ModuleName(texts[one] + (f" (#{count})" if count else "")) for one, count in found]
    order = np.argsort(np.unique(at, return_index=True)[1])
    names = [names[index] for index in order.tolist()]
    return _times(trace, "shapes", names, [NOTHING] * len(names), (ops.rows(rows), np.argsort(order)[at]))


def _operator(name: str) -> str:
    return name.removeprefix("aten::")


def _weight(operator: str, shapes: str) -> str | None:
    """Return ``conv2d 64x32x3x3``; None where the recorder wrote no shape of a weight."""
    inputs = _INPUT.findall(shapes[1:])
    at = _WEIGHT_AT[operator]
    if at >= len(inputs) or not _SIZES.fullmatch(inputs[at]):
        return None
    return f"{operator} {'x'.join(re.findall(r'[0-9]+', inputs[at]))}"


def _outermost_forward(trace: Trace, rows: Ns) -> npt.NDArray[np.bool_]:
    """Tell which of some operators lie in none of the others and in no backward."""
    ops = trace.ops
    is_backward = trace.named(ops, BACKWARD_OP.match)
    kept = np.zeros(len(rows), np.bool_)
    for thread in np.unique(ops["thread"][rows]).tolist():
        mine = np.flatnonzero(ops["thread"][rows] == thread)
        start, end = ops["start_ns"][rows[mine]], ops.end_ns[rows[mine]]
        order = np.lexsort((-end, start))
        reached = np.r_[np.iinfo(np.int64).min, np.maximum.accumulate(end[order])[:-1]]
        back = is_backward & (ops["thread"] == thread)
        outside = Tiling.innermost(ops["start_ns"][back], ops.end_ns[back]).at(start[order]) == NOTHING
        kept[mine[order]] = (start[order] >= reached) & outside
    return kept


def _numbers(step: Ns, kind: Ns) -> Ns:
    """Count the calls of each kind in each step, from 1, in order; 0 outside of steps."""
    order = np.lexsort((np.arange(step.size), kind, step))
    opens = np.r_[True, (np.diff(step[order]) != 0) | (np.diff(kind[order]) != 0)]
    place = np.arange(step.size)
    number = np.empty(step.size, np.int64)
    number[order] = place - np.maximum.accumulate(np.where(opens, place, 0)) + 1
    return np.where(step == NOTHING, 0, number)


def _times(
    trace: Trace, source: str, names: list[ModuleName], parents: list[int], calls: tuple[Table, Ns]
) -> ModuleTimes:
    """Tile the threads by calls, each of which is a call of one of the modules."""
    table, which = calls
    innermost = {}
    for thread in np.unique(table["thread"]).tolist():
        mine = np.flatnonzero(table["thread"] == thread)
        tiling = Tiling.innermost(table["start_ns"][mine], table.end_ns[mine])
        innermost[thread] = tiling.relabelled(which[mine])
    counts = np.bincount(which, minlength=len(names))
    return ModuleTimes(source, tuple(names), tuple(parents), counts, innermost, dict(_backward(trace, innermost)))


def _backward(trace: Trace, innermost: Mapping[int, Tiling]) -> Iterator[tuple[int, Tiling]]:
    """Yield for each thread when it ran the backward of an operator that a module called."""
    ops = trace.ops
    numbered = np.flatnonzero(ops["sequence"] != NONE)
    is_backward = trace.named(ops, BACKWARD_OP.match)[numbered]
    called = numbered[~is_backward & np.isin(ops["thread"][numbered], list(innermost))]
    # An operator carries the number of the next node of the graph: of several, the last one made that node.
    called = called[np.lexsort((ops["start_ns"][called], ops["sequence"][called]))]
    sequence = ops["sequence"][called]
    last = np.r_[sequence[1:] != sequence[:-1], True][: sequence.size]
    called, sequence = called[last], sequence[last]
    module = np.full(called.size, NOTHING, np.int64)
    for thread, tiling in innermost.items():
        mine = ops["thread"][called] == thread
        module[mine] = tiling.at(ops["start_ns"][called[mine]])
    behind = numbered[is_backward]
    for thread in np.unique(ops["thread"][behind]).tolist():
        mine = behind[ops["thread"][behind] == thread]
        at = np.minimum(np.searchsorted(sequence, ops["sequence"][mine]), max(0, sequence.size - 1))
        tied = sequence[at] == ops["sequence"][mine] if sequence.size else np.zeros(mine.size, np.bool_)
        label = np.where(tied, module[at], NOTHING) if sequence.size else np.full(mine.size, NOTHING, np.int64)
        found = Tiling.innermost(ops["start_ns"][mine], ops.end_ns[mine]).relabelled(label)
        if thread in innermost:
            found = found.within(found.spans() - innermost[thread].spans())
        yield thread, found
