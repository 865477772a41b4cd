"""When each module of the model ran, from the best of three things that a trace may hold.

1. ``python``: Python calls of modules (``nn.Module: …``), which torch's profiler writes with stacks; every module.
2. ``ranges``: ranges of the recorder of this project, by default the layers of the model.
3. ``shapes``: operators that take parameters, told apart by the shape of their weight and their order in the step;
   needs shapes of inputs.  What a module does besides (activations, concatenations) is not seen.

Backward is tied to the module whose operator carries the same sequence number.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tbperf.intervals import NOTHING, Lanes, Tilings, distinct
from tbperf.trace import NONE
from tbperf.trace.stages import BACKWARD_OP, ModuleName, module_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace

MOST_LEVELS = 50
"""Modules inside of so many others count for the one around them."""
LONGEST_NAME = 100
"""Characters of one level of a path that is put together of Python calls."""

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
    innermost: Tilings
    """For each thread, when each was the innermost one; labels index ``names``."""
    backward: Tilings
    """For each thread, when the backward of an operator of each ran, outside of all modules."""
    deeper: int = 0
    """Modules that lie deeper than `MOST_LEVELS`, and count for the one around them that does not."""
    deeper_ns: int = 0
    """Host time in those and in no module that they call."""

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
    order = np.lexsort((-calls.end_ns, calls["start_ns"], calls["thread"]))
    names = {code: match[1] for code in np.unique(calls["name"]).tolist() if (match := _is_call(trace, code))}
    modules: dict[tuple[int, int], int] = {}  # a module is what it is called, in the module around it
    open_calls: list[tuple[int, int]] = []
    which, on = [], NOTHING
    columns = (calls[name][order].tolist() for name in ("thread", "start_ns", "dur_ns", "name"))
    for thread, start, dur, code in zip(*columns, strict=True):
        if thread != on:
            open_calls, on = [], thread
        while open_calls and open_calls[-1][0] <= start:
            open_calls.pop()
        around = open_calls[-1][1] if open_calls else NOTHING
        module = modules.setdefault((around, code), len(modules))
        open_calls.append((start + dur, module))
        which.append(module)
    of_call = np.empty(len(calls), np.int64)
    of_call[order] = which
    kept = _down_to_a_level([around for around, _ in modules])
    paths: list[str] = []
    for (_, code), around in zip(itertools.compress(modules, kept.own.tolist()), kept.parents, strict=True):
        name = names[code] if len(names[code]) <= LONGEST_NAME else f"{names[code][: LONGEST_NAME - 1]}…"
        paths.append(name if around == NOTHING else f"{paths[around]}/{name}")
    return _times(trace, "python", [ModuleName(path, separator="/") for path in paths], kept, (calls, of_call))


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
    kept = _down_to_a_level(_around([name.path for name in names]))
    names = list(itertools.compress(names, kept.own.tolist()))
    return _times(trace, "ranges", names, kept, (calls, np.argsort(order)[which]))


def _around(paths: Sequence[str]) -> list[int]:
    """Return for each path the place of the longest other one that it begins with, level by level."""
    levels = [path.split(".", MOST_LEVELS) for path in paths]
    found = [NOTHING] * len(paths)
    open_: list[int] = []
    # What begins with a path follows it; of equal paths the last one stands for all.
    for place in sorted(range(len(paths)), key=lambda index: (levels[index], index)):
        mine = levels[place]
        while open_ and (levels[open_[-1]] == mine or levels[open_[-1]] != mine[: len(levels[open_[-1]])]):
            open_.pop()
        found[place] = open_[-1] if open_ else NOTHING
        open_.append(place)
    return found


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
    outermost = _outermost_forward(trace, rows)
    rows, kind = rows[outermost], kind[outermost]
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
    kept = _down_to_a_level([NOTHING] * len(names))
    return _times(trace, "shapes", names, kept, (ops.rows(rows), np.argsort(order)[at]))


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
    thread, start, end = ops["thread"][rows], ops["start_ns"][rows], ops.end_ns[rows]
    order = np.lexsort((-end, start, thread))
    lanes = Lanes(len(trace.threads), start, end)
    opens, closes = lanes.place(thread[order], start[order]), lanes.place(thread[order], end[order])
    reached = np.r_[np.iinfo(np.int64).min, np.maximum.accumulate(closes)[:-1]]
    back = np.flatnonzero(trace.named(ops, BACKWARD_OP.match))
    backward = Tilings.innermost(ops["thread"][back], ops["start_ns"][back], ops.end_ns[back])
    kept = np.zeros(len(rows), np.bool_)
    kept[order] = (opens >= reached) & (backward.at(thread[order], start[order]) == NOTHING)
    return kept


def _numbers(step: Ns, kind: Ns) -> Ns:
    """Count the calls of each kind in each step, from 1, in order; 0 outside of steps."""
    order = np.lexsort((np.arange(step.size), kind, step))
    opens = np.r_[True, (np.diff(step[order]) != 0) | (np.diff(kind[order]) != 0)]
    place = np.arange(step.size)
    number = np.empty(step.size, np.int64)
    number[order] = place - np.maximum.accumulate(np.where(opens, place, 0)) + 1
    return np.where(step == NOTHING, 0, number)


class _Kept(NamedTuple):
    """The modules that are told apart."""

    own: npt.NDArray[np.bool_]
    """Which of the modules are."""
    of: Ns
    """Index, among those, of each module or of the innermost one around it that is."""
    parents: list[int]
    """Of those, index of the one around each."""


def _down_to_a_level(parents: Sequence[int]) -> _Kept:
    """Keep modules down to a level; parents come before their children."""
    level: list[int] = []
    of: list[int] = []
    kept: list[int] = []
    for parent in parents:
        level.append(0 if parent == NOTHING else level[parent] + 1)
        if level[-1] < MOST_LEVELS:
            of.append(len(kept))
            kept.append(NOTHING if parent == NOTHING else of[parent])
        else:
            of.append(of[parent])
    return _Kept(np.array(level, np.int64) < MOST_LEVELS, np.array(of, np.int64), kept)


def _times(trace: Trace, source: str, names: list[ModuleName], kept: _Kept, calls: tuple[Table, Ns]) -> ModuleTimes:
    """Tile the threads by calls, each of which is a call of one of the modules."""
    table, which = calls
    by_call = Tilings.innermost(table["thread"], table["start_ns"], table.end_ns)
    innermost = by_call.relabelled(kept.of[which])
    counted = kept.own[which]
    deeper = ~counted[by_call.label]
    return ModuleTimes(
        source,
        tuple(names),
        tuple(kept.parents),
        np.bincount(kept.of[which[counted]], minlength=len(names)),
        innermost,
        _backward(trace, innermost, np.unique(table["thread"])),
        int((~kept.own).sum()),
        int((by_call.end - by_call.start)[deeper].sum()),
    )


def _backward(trace: Trace, innermost: Tilings, threads: Ns) -> Tilings:
    """Return when each thread ran the backward of an operator that a module called, on one of some threads."""
    ops = trace.ops
    numbered = np.flatnonzero(ops["sequence"] != NONE)
    is_backward = trace.named(ops, BACKWARD_OP.match)[numbered]
    called = numbered[~is_backward & np.isin(ops["thread"][numbered], threads)]
    # An operator carries the number of the next node of the graph: of several, the last one made that node.
    called = called[np.lexsort((ops["start_ns"][called], ops["sequence"][called]))]
    sequence = ops["sequence"][called]
    last = np.r_[sequence[1:] != sequence[:-1], True][: sequence.size]
    called, sequence = called[last], sequence[last]
    module = innermost.at(ops["thread"][called], ops["start_ns"][called])
    behind = numbered[is_backward]
    label = np.full(behind.size, NOTHING, np.int64)
    if sequence.size:
        at = np.minimum(np.searchsorted(sequence, ops["sequence"][behind]), sequence.size - 1)
        label = np.where(sequence[at] == ops["sequence"][behind], module[at], NOTHING)
    ran = Tilings.innermost(ops["thread"][behind], ops["start_ns"][behind], ops.end_ns[behind])
    return ran.relabelled(label) - innermost
