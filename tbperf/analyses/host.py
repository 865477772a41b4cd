"""What did the host do with the time of the steps?  Every nanosecond of a step has exactly one sort of work.

The thread that runs the program's loop decides; the first of these that applies to it:

- the recorder's own work;
- loading a batch itself, or waiting for one;
- a call of the GPU's runtime: one that waits for the GPU, or any other;
- an operator: the sort of work of the innermost one whose name tells it.  Views and allocation count for what they are
  part of.  What runs in the optimizer's stage is the optimizer's;
- a call of the operating system's runtime;
- in the backward pass, an operator of autograd's own threads, for which the loop waits;
- in the backward pass, nothing: waiting for those threads or, where autograd runs in the loop's own thread, its work
  between operators;
- Python: everything else in a step, range or Python call.

The parts of each step and of each stage sum to it exactly.  On the CPU this is what the idle ledger is for a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.idle import loads_in_process
from tbperf.analyses.rows import Rows
from tbperf.analyses.steps import host_window
from tbperf.intervals import NOTHING, Spans, Tiling, Tilings, sum_by
from tbperf.trace.names import ASYNC_COPY_CALL, COPY_CALL, SYNCHRONIZE
from tbperf.trace.operators import BOOKKEEPING, OPERATOR_FAMILIES, OTHER_OPERATORS, operator_family
from tbperf.trace.stages import BACKWARD_OP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace

WORK = (
    "profiler",
    "waiting for a batch",
    "loading a batch",
    "waiting for the GPU",
    "calls of the GPU's runtime",
    *OPERATOR_FAMILIES,
    "calls of the system",
    "waiting for a thread",
    "autograd",
    "python",
    "unknown",
)
"""All sorts of work."""

WAITING = ("waiting for a batch", "waiting for the GPU", "waiting for a thread")
"""What the loop's thread does without a core."""

_CODE = {work: code for code, work in enumerate(WORK)}


@dataclass(frozen=True)
class HostWork:
    """One sort of work, over all steps (over the whole trace where no steps are marked)."""

    work: str
    host_ns: int
    """Time that the program's loop spent in it, or waited for a thread that did."""
    share: float
    """Of the time of all steps; the shares sum to 1."""
    stage: Mapping[str, int]
    """That time by stage; it sums to it."""
    longest_ns: int
    """Its longest stretch without other work in between."""
    longest_start_ns: int
    """Where that began."""


@dataclass(frozen=True)
class HostLedger:
    """The time of the steps, split."""

    work: Rows[HostWork]
    steps: tuple[Mapping[str, int], ...]
    """Time by sort of work of each step, dearest first; it sums to the step."""
    stages: Mapping[str | None, Mapping[str, int]]
    """The same of each stage; None for what no stage names."""


def keep_host_ledger(trace: Trace) -> HostLedger:
    """Split the time of all steps by what the host did with it."""
    window, tiling = host_window(trace), trace.once(host_tiling)
    pieces = _cut(tiling, trace.stage_tiling.within(window), trace.steps.start_ns)
    dur = pieces.end - pieces.start
    stage, step = trace.stage_tiling.at(pieces.start) + 1, trace.steps.at(pieces.start)
    names: list[str | None] = [None, *trace.stage_names]
    by_stage = sum_by(stage * len(WORK) + pieces.label, dur, len(names) * len(WORK)).reshape(len(names), len(WORK))
    inside = step != NOTHING
    cell = step[inside] * len(WORK) + pieces.label[inside]
    by_step = sum_by(cell, dur[inside], len(trace.steps) * len(WORK)).reshape(-1, len(WORK))
    total = by_stage.sum(axis=0)
    length = tiling.end - tiling.start
    longest = np.zeros(len(WORK), np.int64)
    np.maximum.at(longest, tiling.label, length)
    at = np.flatnonzero(length == longest[tiling.label])[::-1]
    place = np.zeros(len(WORK), np.int64)
    place[tiling.label[at]] = tiling.start[at]  # of several that are as long, the first
    rows = [
        HostWork(
            work=work,
            host_ns=int(total[code]),
            share=int(total[code]) / window.total_ns,
            stage=_named([name or "unnamed" for name in names], by_stage[:, code]),
            longest_ns=int(longest[code]),
            longest_start_ns=int(place[code]),
        )
        for code, work in enumerate(WORK)
        if total[code]
    ]
    return HostLedger(
        work=Rows(sorted(rows, key=lambda row: -row.host_ns)),
        steps=tuple(_named(WORK, row) for row in by_step),
        stages={name: _named(WORK, row) for name, row in zip(names, by_stage, strict=True)},
    )


def _named(names: Sequence[str], values: Ns) -> dict[str, int]:
    """Return what is not zero by name, the largest first."""
    return {names[at]: int(values[at]) for at in np.argsort(-values, kind="stable").tolist() if values[at]}


def _cut(tiling: Tiling, stages: Tiling, steps: Ns) -> Tiling:
    """Cut pieces where a stage or a step begins or ends, so that each lies in one of them."""
    cuts = np.unique(np.concatenate([stages.start, stages.end, steps]))
    first = np.searchsorted(cuts, tiling.start, side="right")
    count = np.searchsorted(cuts, tiling.end, side="left") - first
    piece = np.repeat(np.arange(tiling.start.size), count + 1)
    within = np.arange(piece.size) - np.repeat(np.cumsum(count + 1) - count - 1, count + 1)
    at = first[piece] + within
    padded = np.r_[cuts, 0]
    start = np.where(within == 0, tiling.start[piece], padded[at - 1])
    end = np.where(within == count[piece], tiling.end[piece], padded[np.minimum(at, cuts.size)])
    return Tiling(start, end, tiling.label[piece])


def host_tiling(trace: Trace) -> Tiling:
    """Tile the time of all steps by sort of work; labels index `WORK`."""
    window = host_window(trace)
    unknown = Tiling(window.start, window.end, np.full(len(window), _CODE["unknown"], np.int64))
    return Tilings.of_lines([*_layers(trace), unknown]).stacked().within(window).joined()


def _layers(trace: Trace) -> Iterator[Tiling]:
    """Yield what the loop's thread may have been doing, the first that applies first."""
    main = trace.main_thread
    yield _labelled("profiler", _spans(trace.overhead))
    for stage in ("dataload", "fetch"):
        if stage in trace.stage_names:
            spans = trace.stage_tiling.spans_of(trace.stage_names.index(stage))
            yield _labelled("loading a batch" if loads_in_process(trace) else "waiting for a batch", spans)
    api = trace.api.rows(trace.api["thread"] == main)
    blocking = trace.named(api, lambda name: COPY_CALL.match(name) and not ASYNC_COPY_CALL.match(name))
    yield _labelled("waiting for the GPU", _spans(api.rows(blocking | trace.named(api, SYNCHRONIZE.match))))
    yield _labelled("calls of the GPU's runtime", _spans(api))
    yield _operators(trace, [main])
    yield _labelled("calls of the system", _spans(trace.os.rows(trace.os["thread"] == main)))
    behind = autograd_threads(trace)
    if "backward" in trace.stage_names:
        backward = trace.stage_tiling.spans_of(trace.stage_names.index("backward"))
        if behind:
            yield _operators(trace, behind).within(backward)
        yield _labelled("waiting for a thread" if behind else "autograd", backward)
    open_ranges = trace.ranges.rows((trace.ranges["thread"] == main) & ~trace.loading)
    python = _spans(open_ranges) | _spans(trace.python.rows(trace.python["thread"] == main))
    yield _labelled("python", python)


def autograd_threads(trace: Trace) -> list[int]:
    """Return the threads beside the program's loop that run the backward pass."""
    nodes = trace.named(trace.ops, BACKWARD_OP.match) & (trace.ops["thread"] != trace.main_thread)
    found: list[int] = np.unique(trace.ops["thread"][nodes]).tolist()
    return found


def _operators(trace: Trace, threads: Sequence[int]) -> Tiling:
    """Tile the time that threads spend in operators by sort of work; of several at once, the first one's.

    First those operators count whose name tells what they do, then the others; all are the optimizer's in its stage.
    """
    ops = trace.ops
    work = trace.labelled(ops, lambda name: _CODE[operator_family(name)])
    rows = np.flatnonzero(
        np.isin(ops["thread"], threads) & (work != _CODE[BOOKKEEPING]) & (work != _CODE[OTHER_OPERATORS])
    )
    told = Tilings.innermost(ops["thread"][rows], ops["start_ns"][rows], ops.end_ns[rows]).relabelled(work[rows])
    either = trace.innermost(ops).relabelled(work)
    optimizing = (
        trace.stage_tiling.spans_of(trace.stage_names.index("optimizer"))
        if "optimizer" in trace.stage_names
        else Spans.empty()
    )
    optimizer = either.within(optimizing).relabelled(np.full(len(WORK), _CODE["optimizer"]))
    turn = np.full(len(trace.threads) + 1, NOTHING, np.int64)
    turn[list(threads)] = np.arange(len(threads))
    lines = [
        line.renumbered(np.where(turn < 0, turn, 3 * turn + at)) for at, line in enumerate((optimizer, told, either))
    ]
    return Tilings.joined(lines).stacked()


def _labelled(work: str, spans: Spans) -> Tiling:
    return Tiling(spans.start, spans.end, np.full(len(spans), _CODE[work], np.int64))


def _spans(table: Table) -> Spans:
    return Spans.merged(table["start_ns"], table.end_ns)
