"""What would be gained: the recorded run, replayed with one thing changed.

Idle time that a cause is charged with is not what its removal saves: the host runs ahead, work queues up, and the next
limit appears.  The replay keeps what the recording shows of the dependencies:

- a piece of device work starts when its launch has reached the device, what precedes it on its stream has ended, and
  what it was seen to wait for on another stream has ended;
- the host goes on as recorded, but a call that waited for the device returns when that work has ended, and a batch of
  loader workers comes no earlier than it did.

With nothing changed it gives the recorded times exactly.  Each change is replayed twice, done in part and done
altogether: that is the range of what it saves.
"""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.copies import TINY_BYTES
from tbperf.analyses.idle import CAUSES, attribute, loads_in_process, tile_driving
from tbperf.analyses.kernels import TINY_NS
from tbperf.analyses.loader import COLLATE, FETCH, has_loading, sum_loader_work, weigh_loader
from tbperf.analyses.rows import Rows
from tbperf.intervals import NOTHING, Lanes, Minima, Spans, rows_by, sum_by
from tbperf.trace import COPY_KINDS, HOST_MEMORY, NONE, Kind
from tbperf.trace.names import (
    ASYNC_COPY_CALL,
    COLLECTIVE,
    COPY_CALL,
    GRAPH_LAUNCH,
    SYNCHRONIZE,
    kernel_family,
    uses_tensor_cores,
)
from tbperf.trace.stages import LOADER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Trace

    _Mask = npt.NDArray[np.bool_]

WORTH_SHARE = 0.01
"""What takes less than this share of the window is not replayed."""

MOST_STOPS = 30_000
"""With more calls that wait and dependencies between streams the replay would take longer than reading."""

TENSOR_CORE_SPEEDUP = (1.5, 3.0)
"""Matrix work in half precision by fp32, as a cautious and a usual factor."""

KERNEL_SPEEDUP = (1.25, 2.0)
"""What a better or fused kernel brings, as a cautious and a usual factor."""

WAITS = ("sync", "reads", "log", "copies")
"""Why the host waits for the device: it synchronizes, reads small values, logs a step, copies much."""

_FREE = re.compile(r"(cuda|hip)Free$|cuMemFree(_v\d)?$")
"""Giving memory back waits for all work of the device."""
_FETCHED = re.compile(LOADER_PREFIX + FETCH + "$")

READING = re.compile(r"aten::(item|_local_scalar_dense)$")
"""Operators that read one value."""

_RETURN_NS = 5_000
"""What a synchronizing call takes when there is nothing to wait for."""
_AT_ONCE_NS = 10_000
"""A synchronization this soon after a copy waits for that copy."""
_DEPENDS_NS = 3_000
"""A start that is later by more than this than launch and stream explain has another reason."""
_HANDED_ON_NS = 20_000
"""From the end of work to the start of what waited for it on another stream, at most."""
_LATENCY_NS, _GAP_NS = 8_000, 1_000
"""From launch to start, and from end to start on a stream, where the trace shows none."""
_BATCH_NS = 500_000
"""A shorter wait for a batch found one ready."""
_SHORT = 48
"""Rows of a stream that are run faster one by one than together."""
_NEVER = np.iinfo(np.int64).min // 2


@dataclass(frozen=True)
class WhatIf:
    """The window of one device with one thing changed."""

    device: int
    change: str
    """A cause of idle time that is removed; ``host``: launch calls, operators and Python, but for stretches of 0.5 ms
    and more; ``synchronizing``: no call waits for the device, and by what they do ``waits: sync``, ``waits: reads`` (of
    small values), ``waits: log`` (in the stage that logs), ``waits: copies``; ``python: STAGE``, ``stage: STAGE``: host
    time of a stage, in no operator or call (in a trace without operators: stretches of at least 0.5 ms) or all of it;
    ``loader: WORK``: that work of the loader takes no time; ``pageable``, ``exposed copies``, ``migrations``,
    ``collectives``, ``FAMILY kernels``: that work takes no time; ``tiny kernels``: nor do the operators that launch
    them; ``tensor_cores``: matrix work that tensor cores could do runs on them; ``dominant kernel``: it runs faster;
    ``copies beside kernels``: pinned uploads run on a stream of their own."""
    low_ns: int
    """Saved with half of it done (tensor cores: a factor of 1.5; dominant kernel: of 1.25); of waits, with
    every other one, whichever half saves less.  0 where all of it saves less than 1 % of the window."""
    high_ns: int
    """Saved with all of it done (tensor cores: a factor of 3; dominant kernel: of 2)."""


@dataclass(frozen=True)
class Change:
    """What is different in a replay."""

    removed: Spans = field(default_factory=Spans.empty)
    """Host time that goes."""
    share: float = 1.0
    """How much of it."""
    without: tuple[str, ...] = ()
    """Sorts of WAITS that do not wait; with a share of one half, every other one of them."""
    scale: npt.NDArray[np.float64] | None = None
    """Factor on the duration of each row of the gpu table."""
    sooner_ns: int = 0
    """How much less time passes from one batch of the workers to the next."""


@dataclass(frozen=True)
class _Wait:
    """A call that waits for the device, or for a batch."""

    kind: str
    start: int
    end: int
    work: int
    """Row, in launch order, that it waits for; -1 for none."""
    tail: int
    """From the end of that work, or from the batch, to the return."""
    least: int
    """What the call takes when there is nothing to wait for."""
    came: int = 0
    """When the batch was there, as far as it is known."""
    number: int = 0
    """Batches up to this one."""


class Replay:
    """The work of one device and what waits for it, ready to be replayed."""

    def __init__(self, trace: Trace, device: int) -> None:
        rows = np.flatnonzero(trace.gpu["device"] == device)
        launch = _launches(trace, rows)
        order = np.lexsort((trace.gpu["start_ns"][rows], launch))
        self.rows = rows = rows[order]
        self._start = trace.gpu["start_ns"][rows]
        self._dur = trace.gpu["dur_ns"][rows]
        self._end = self._start + self._dur
        self._launch = launch[order]
        streams, self._stream = np.unique(trace.gpu["stream"][rows], return_inverse=True)
        self._of_stream = _rows_of_streams(self._stream, len(streams))
        self._window = trace.windows[device]
        self._explain_starts(trace.resolution_ns, trace.named(trace.gpu, COLLECTIVE.match)[rows])
        self.waits = sorted([*self._waits(trace), *self._batches(trace)], key=lambda wait: wait.start)

    def beside(self, chosen: _Mask, part: int = 1) -> Replay:
        """Return the replay with some work, every so many of it, on a stream of its own; what followed waits for it."""
        moved = np.zeros(self._stream.shape, np.bool_)
        moved[np.flatnonzero(chosen[self.rows])[::part]] = True
        depends = dict(self._depends)
        for mine in self._of_stream:
            copied, following = mine[:-1][moved[mine[:-1]]], mine[1:][moved[mine[:-1]]]
            waits = ~moved[following]
            for row, before in zip(following[waits].tolist(), copied[waits].tolist(), strict=True):
                depends[row] = [before, int(self._gap[row])]
        streams = len(self._of_stream)
        stream = np.where(moved, streams, self._stream)
        other = copy.copy(self)
        vars(other).update(
            _depends=sorted(depends.items()),
            _stream=stream,
            _of_stream=_rows_of_streams(stream, streams + 1),
        )
        return other

    @property
    def stops(self) -> int:
        """How often the replay must stop to look at something."""
        return len(self.waits) + len(self._depends)

    def _explain_starts(self, resolution: int, collective: _Mask) -> None:
        """Tell for each row what it waited for: its launch, its stream, or work on another stream."""
        previous = np.full(self._start.shape, _NEVER, np.int64)
        order = np.argsort(self._stream, kind="stable")
        follows = self._stream[order[1:]] == self._stream[order[:-1]]
        previous[order[1:][follows]] = self._end[order[:-1][follows]]
        queued = previous > self._launch
        gap, latency = self._start - previous, self._start - self._launch
        usual_gap = min(_typical(gap[queued & (gap < _HANDED_ON_NS)], _GAP_NS), _LATENCY_NS)
        usual_latency = _typical(latency[~queued & (latency < _HANDED_ON_NS)], _LATENCY_NS)
        slack = max(_DEPENDS_NS, 2 * resolution)
        late = self._start - np.maximum(self._launch + usual_latency, previous + usual_gap) > slack
        by_end = np.argsort(self._end, kind="stable")
        late_rows = np.flatnonzero(late)
        at = np.searchsorted(self._end[by_end], self._start[late_rows], side="right") - 1
        before = by_end[np.maximum(at, 0)]
        after = self._start[late_rows] - self._end[before]
        depends = (at >= 0) & (before < late_rows) & (after < _HANDED_ON_NS)
        depends &= (self._stream[before] != self._stream[late_rows]) & (self._end[before] > self._launch[late_rows])
        found = zip(late_rows[depends].tolist(), before[depends].tolist(), after[depends].tolist(), strict=True)
        self._depends = sorted(
            {**self._inputs_of_collectives(collective), **{row: rest for row, *rest in found}}.items()
        )
        handed_on = np.zeros(late.shape, np.bool_)
        handed_on[late_rows[depends]] = True
        by_stream = queued & ~handed_on
        by_launch = ~queued & ~handed_on
        self._gap = np.where(by_stream, gap, np.minimum(gap, usual_gap))
        self._latency = np.where(by_launch, latency, np.minimum(latency, usual_latency))

    def _inputs_of_collectives(self, collective: _Mask) -> dict[int, list[int]]:
        """Let each collective wait for the kernel before it, where it was seen to: its input is computed there.

        Where its own stream kept it waiting for longer, the times do not show that.
        """
        rows = np.flatnonzero(collective)
        others = np.flatnonzero(~collective)
        at = np.searchsorted(others, rows) - 1
        rows, before = rows[at >= 0], others[at[at >= 0]]
        after = self._start[rows] - self._end[before]
        seen = after >= 0
        kept = zip(rows[seen].tolist(), before[seen].tolist(), after[seen].tolist(), strict=True)
        return {row: [input_, min(ns, _DEPENDS_NS)] for row, input_, ns in kept}

    def _waits(self, trace: Trace) -> Iterator[_Wait]:
        """Find the calls of the host that wait for the device: synchronizations, and copies that return when done."""
        api, gpu = trace.api, trace.gpu
        synchronizes = trace.named(api, SYNCHRONIZE.match)
        frees = trace.named(api, _FREE.match)
        synchronizes |= frees
        calls = np.flatnonzero(synchronizes | trace.named(api, COPY_CALL.match))
        calls = calls[np.argsort(api["start_ns"][calls], kind="stable")]
        own = dict(zip(trace.launched_by[self.rows].tolist(), range(len(self.rows)), strict=True))
        reads = (gpu["copy_kind"] == COPY_KINDS.index("DtoH")) & (gpu["bytes"] <= TINY_BYTES) & (gpu["bytes"] >= 0)
        log = trace.stage_names.index("log") if "log" in trace.stage_names else NONE
        in_log = trace.stage_tiling.at(api["start_ns"][calls]) == log if log != NONE else np.zeros(len(calls), np.bool_)
        starts, ends = api["start_ns"][calls].tolist(), api.end_ns[calls].tolist()
        waited_for = self._waited_for(api["start_ns"][calls], api.end_ns[calls]).tolist()
        is_sync = synchronizes[calls].tolist()
        free_from, read_until = -1, _NEVER
        for index, call in enumerate(calls.tolist()):
            start, end, work = starts[index], ends[index], own.get(call, NONE)
            if start < free_from:  # another thread waits already
                continue
            if is_sync[index]:
                kind = "free" if frees[call] else "reads" if start - read_until < _AT_ONCE_NS else "sync"
                work = waited_for[index]
            else:
                if work == NONE:
                    continue
                if reads[self.rows[work]]:
                    kind, read_until = "reads", end
                else:
                    kind = "copies"
                if self._end[work] > end:
                    continue
            waited = work >= 0 and self._end[work] > start
            tail = end - int(self._end[work]) if waited else 0
            if frees[call] and not waited:  # what it takes by itself comes after a wait
                tail = end - start
            yield _Wait(
                kind="log" if in_log[index] and kind != "free" else kind,
                start=start,
                end=end,
                work=work,
                tail=tail,
                least=min(end - start, max(_RETURN_NS, tail)) if waited else end - start,
            )
            free_from = end

    def _waited_for(self, starts: Ns, ends: Ns) -> Ns:
        """Return for each synchronization the work that it waited for: what ended last before it returned."""
        launched = np.searchsorted(self._launch, starts, side="right")
        # The last of what was launched before and ended in time tells whether anything of it ran then at all …
        last = Minima(self._end).last_at_most(launched, ends)
        ran = last >= 0
        if not ran.any():
            return last
        ran[ran] = np.maximum.accumulate(self._end)[last[ran]] > starts[ran]
        # … and of that, what ended last; of several at once, the first.
        by_end = np.lexsort((-np.arange(self._end.size), self._end))
        in_time = np.searchsorted(self._end[by_end], ends[ran], side="right")
        last[ran] = by_end[Minima(by_end).last_at_most(in_time, last[ran])]
        return last

    def _batches(self, trace: Trace) -> Iterator[_Wait]:
        """Find the waits for batches of other processes: those come when they come.

        One that was ready says only that it came before; when, says the worker, where those were recorded: batches are
        taken in the order in which they were begun.
        """
        if "dataload" not in trace.stage_names or loads_in_process(trace):
            return
        waiting = trace.stage_tiling.spans_of(trace.stage_names.index("dataload"))
        fetches = trace.ranges.rows(trace.loading & trace.named(trace.ranges, _FETCHED.match))
        made = fetches.end_ns[np.argsort(fetches["start_ns"], kind="stable")]
        awaited = waiting.dur > _BATCH_NS
        taken = np.full(len(waiting), len(made))
        if made.size:
            by_end = np.lexsort((-np.arange(len(made)), made))
            came_before = np.searchsorted(made[by_end], waiting.end[awaited], side="right")
            taken[awaited] = np.where(came_before > 0, by_end[came_before - 1], 0)
        known = taken < len(made)
        handed_over = _typical(waiting.end[known] - made[taken[known]], 0)
        batch = len(made)
        for number, (start, end) in enumerate(zip(waiting.start.tolist(), waiting.end.tolist(), strict=True)):
            batch += 1
            came = end
            if awaited[number]:
                batch = int(taken[number])
            elif batch < len(made):
                came = min(end, int(made[batch]) + handed_over)
            else:
                continue
            yield _Wait("batch", start, end, NOTHING, end - max(start, came), end - start, came, number + 1)

    def saved(self, change: Change) -> int:
        """Return by how much the window shrinks; where every other wait goes, by how much at least."""
        turns = (0, 1) if change.without and change.share < 1 else (0,)
        return min(_Run(self, change, turn).saved() for turn in turns)


class _Run:
    """One replay."""

    def __init__(self, replay: Replay, change: Change, turn: int) -> None:
        self._replay = replay
        self._seen = turn
        self._change = change
        removed, share = change.removed, change.share
        dur, gap = replay._dur, replay._gap  # noqa: SLF001 - one thing in two classes
        if change.scale is not None:
            scale = change.scale[replay.rows]
            dur = np.rint(dur * scale).astype(np.int64)
            gap = np.where(scale > 0, gap, 0)
        launch = replay._launch  # noqa: SLF001
        if len(removed):
            launch = launch - np.rint(removed.covered_before(launch) * share).astype(np.int64)
        self._dur, self._gap = dur, gap
        self._ready = launch + replay._latency  # noqa: SLF001
        self._stream, self._of_stream = replay._stream, replay._of_stream  # noqa: SLF001
        self._end = np.empty_like(dur)
        self._tails = [_NEVER] * len(self._of_stream)
        self._next = [0] * len(self._of_stream)
        self._done = 0
        self._shift = 0
        self._lists: tuple[list[int], ...] | None = None

    def saved(self) -> int:
        """Run to the end, and compare."""
        replay = self._replay
        waits, depends = replay.waits, replay._depends  # noqa: SLF001
        moments = np.array([(w.start, w.end) for w in waits], np.int64).reshape(-1, 2)
        gone = np.rint(self._change.removed.covered_before(moments) * self._change.share).astype(np.int64).tolist()
        until = np.searchsorted(replay._launch, moments[:, 0], side="right").tolist()  # noqa: SLF001
        at = 0
        for index, wait in enumerate(waits):
            while at < len(depends) and depends[at][0] < until[index]:
                self._hand_on(depends[at][0], *depends[at][1])
                at += 1
            self._run(until[index])
            self._wait(wait, *gone[index])
        for row, (before, after) in depends[at:]:
            self._hand_on(row, before, after)
        self._run(len(self._dur))
        begin, end = replay._window  # noqa: SLF001
        return (end - begin) - (int(self._end.max()) - int((self._end - self._dur).min()))

    def _wait(self, wait: _Wait, gone_before: int, gone_after: int) -> None:
        begin = wait.start - gone_before + self._shift
        gone = gone_after - gone_before
        finish = begin + max(0, wait.least - gone)
        if wait.kind == "batch":
            if not gone:
                finish = max(begin, wait.came - wait.number * self._change.sooner_ns) + wait.tail
        elif wait.work >= 0 and not self._skips(wait, gone):
            if wait.work >= self._done:  # the copy that this very call launches
                self._run(wait.work + 1)
            finish = max(finish, int(self._end[wait.work]) + wait.tail)
        self._shift = finish - (wait.end - gone_after)

    def _skips(self, wait: _Wait, gone: int) -> bool:
        """Tell whether a call does not wait in this replay."""
        if wait.kind == "free" and gone:
            return True
        if wait.kind not in self._change.without:
            return False
        self._seen += 1
        return self._change.share == 1 or self._seen % 2 == 0

    def _hand_on(self, row: int, before: int, after: int) -> None:
        """Run up to a row that waits for another stream, and let that row wait."""
        if row < self._done:
            return
        self._run(row)
        stream = int(self._stream[row])
        end = max(
            int(self._ready[row]) + self._shift,
            self._tails[stream] + int(self._gap[row]),
            int(self._end[before]) + after,
        ) + int(self._dur[row])
        self._end[row] = self._tails[stream] = end
        self._next[stream] += 1
        self._done = row + 1

    def _run(self, last: int) -> None:
        """Run the work up to a row: ``end = max(ready, end before + gap) + dur``."""
        first, self._done = self._done, max(self._done, last)
        if last - first < _SHORT * len(self._of_stream):
            if last > first:
                self._run_one_by_one(first, last)
            return
        for stream, rows in enumerate(self._of_stream):
            begin = self._next[stream]
            end = begin + int(np.searchsorted(rows[begin:], last))
            if end == begin:
                continue
            self._next[stream] = end
            mine = rows[begin:end]
            dur = self._dur[mine]
            total = np.cumsum(self._gap[mine] + dur)
            ready = np.maximum.accumulate(self._ready[mine] + (self._shift + dur) - total)
            ends = np.maximum(ready, self._tails[stream]) + total
            self._end[mine] = ends
            self._tails[stream] = int(ends[-1])

    def _run_one_by_one(self, first: int, last: int) -> None:
        if self._lists is None:
            self._lists = tuple(a.tolist() for a in (self._stream, self._ready, self._gap, self._dur))
        streams, ready, gap, dur = self._lists
        for row in range(first, last):
            stream = streams[row]
            launched, free = ready[row] + self._shift, self._tails[stream] + gap[row]
            end = (launched if launched > free else free) + dur[row]  # noqa: FURB136 - faster than max
            self._tails[stream] = end
            self._next[stream] += 1
            self._end[row] = end


def _launches(trace: Trace, rows: Ns) -> Ns:
    """Return when work was launched; where no launch is known, before what follows on its stream, as streams queue."""
    start, stream = trace.gpu["start_ns"][rows], trace.gpu["stream"][rows]
    launch: Ns = np.minimum(trace.gpu_launch_ns[rows], start)
    unknown = trace.launched_by[rows] < 0
    if unknown.any() and not unknown.all():
        numbers, lane = np.unique(stream, return_inverse=True)
        lanes = Lanes(len(numbers), launch)
        order = np.lexsort((start, lane))
        # From the last row of a stream on, so that no row of another stream counts.
        no_later = np.minimum.accumulate(lanes.place(lane[order], launch[order])[::-1])[::-1]
        launch[order] = np.where(unknown[order], lanes.times(no_later), launch[order])
    return launch


def _rows_of_streams(stream: Ns, streams: int) -> list[Ns]:
    """Return the rows of each stream, in order."""
    found = dict(rows_by(stream))
    return [found.get(number, np.empty(0, np.int64)) for number in range(streams)]


def _typical(values: Ns, otherwise: int) -> int:
    return int(np.median(values)) if values.size else otherwise


_HOST = ("launch", "host_op", "python")
_FAMILIES = ("layout", "fill", "cast and copy")


def explore(trace: Trace) -> Rows[WhatIf]:
    """Replay each device without its dearest causes of idle time, waits, copies, and kernels."""
    found = []
    for device in trace.devices:
        start, end = trace.windows[device]
        worth = WORTH_SHARE * (end - start)
        changes = list(_changes(trace, device, worth))
        if not changes:
            continue
        replay = Replay(trace, device)
        if replay.stops > MOST_STOPS:
            continue
        kinds = {wait.kind for wait in replay.waits} & set(WAITS)
        known: dict[str, int] = {}
        for name, part, whole in changes:
            if name == "synchronizing" and not kinds:
                continue
            if name.startswith("waits: ") and (name[7:] not in kinds or not known.get("synchronizing", 1)):
                continue
            high = known[name] = max(0, replay.saved(whole))
            low = max(0, replay.saved(part)) if high > worth else 0  # a range is wanted of what is worth a finding
            found.append(WhatIf(device, name, min(low, high), max(low, high)))
        found += _copies_beside(trace, device, replay, worth)
    return Rows(sorted(found, key=lambda row: -row.high_ns))


def _copies_beside(trace: Trace, device: int, replay: Replay, worth: float) -> Iterator[WhatIf]:
    """Yield what pinned uploads would save on a stream of their own.

    They need no result of the device, and are into memory of their own as long as no graph reads it at a fixed
    place; copies of other directions wait for what they copy, and calls that block need their data at once.
    """
    gpu = trace.gpu
    uploads = (gpu["device"] == device) & (gpu["copy_kind"] == COPY_KINDS.index("HtoD"))
    uploads &= gpu["host_memory"] == HOST_MEMORY.index("pinned")
    uploads &= trace.launched_by >= 0
    if not uploads.any() or trace.named(trace.api, GRAPH_LAUNCH.match).any():
        return
    at_once = trace.named(trace.api, ASYNC_COPY_CALL.match)
    uploads[uploads] = at_once[trace.launched_by[uploads]]
    if int(gpu["dur_ns"][uploads].sum()) > worth:
        half, all_ = (max(0, replay.beside(uploads, part).saved(Change())) for part in (2, 1))
        yield WhatIf(device, "copies beside kernels", min(half, all_), max(half, all_))


def _changes(trace: Trace, device: int, worth: float) -> Iterator[tuple[str, Change, Change]]:
    """Yield what is worth a replay: its name, done in part, done altogether."""
    cost = {row.cause: row.idle_ns for row in trace.once(attribute).causes if row.device == device}
    worthy = [cause for cause in CAUSES if cost.get(cause, 0) > worth]
    tiling = trace.once(tile_driving) if sum(cost.values()) > worth else None
    if tiling is not None:
        for cause in worthy:
            if cause not in ("queued", "unknown", "sync"):
                yield _removing(cause, tiling.spans_of(CAUSES.index(cause)))
        of_host = [_of_length(tiling.spans_of(CAUSES.index(cause)), most=_LONG_NS) for cause in _HOST]
        if any(cause in _HOST for cause in worthy):
            yield _removing("host", functools.reduce(Spans.__or__, of_host))
        yield from _stage_changes(trace, device, worth)
        if "dataloader" in worthy and has_loading(trace):
            yield from _loader_changes(trace, tiling.spans_of(CAUSES.index("dataloader")))
        yield "synchronizing", Change(share=0.5, without=WAITS), Change(without=WAITS)
        reading = trace.ops.rows(trace.named(trace.ops, READING.match))
        read = Spans.merged(reading["start_ns"], reading.end_ns)
        for kind in WAITS:
            spans = read if kind == "reads" else Spans.empty()
            yield f"waits: {kind}", Change(spans, 0.5, without=(kind,)), Change(spans, without=(kind,))
    yield from _Work(trace, device, worth).changes()


def _of_length(spans: Spans, least: float = 0, most: float = np.inf) -> Spans:
    keep = (spans.dur >= least) & (spans.dur < most)
    return Spans(spans.start[keep], spans.end[keep])


_LONG_NS = 500_000
"""A longer stretch without a launch is work of the host itself, not what it takes to launch."""


def _removing(name: str, spans: Spans) -> tuple[str, Change, Change]:
    return name, Change(spans, 0.5), Change(spans)


def _stage_changes(trace: Trace, device: int, worth: float) -> Iterator[tuple[str, Change, Change]]:
    """Yield host time of stages in which the device idles: what is in no operator, and all of it."""
    gaps = trace.busy[device].gaps(*trace.windows[device])
    main = trace.ops.rows(trace.ops["thread"] == trace.main_thread)
    calls = trace.api.rows(trace.api["thread"] == trace.main_thread)
    in_ops = Spans.merged(main["start_ns"], main.end_ns) | Spans.merged(calls["start_ns"], calls.end_ns)
    system = trace.os.rows(trace.os["thread"] == trace.main_thread)
    in_ops |= Spans.merged(system["start_ns"], system.end_ns)
    stages = len(trace.stage_names)
    whole = trace.stage_tiling.total_ns_by_label(stages)
    idle = trace.stage_tiling.within(gaps).total_ns_by_label(stages)
    for label, stage in enumerate(trace.stage_names):
        # Of NMS, the idle time that follows from it may come later.
        costs = (idle if stage != "nms" else whole)[label]
        if costs > worth and stage not in ("dataload", "backward"):
            spans = trace.stage_tiling.spans_of(label)
            quiet = spans - in_ops
            # Without operators, what lies between two calls may be one; long stretches are at least no launching.
            yield _removing(f"python: {stage}", quiet if trace.has("ops") else _of_length(quiet, _LONG_NS))
            yield _removing(f"stage: {stage}", spans)


def _loader_changes(trace: Trace, waiting: Spans) -> Iterator[tuple[str, Change, Change]]:
    """Yield what the loader spends most of its time on."""
    works = [row for row in trace.once(sum_loader_work) if row.work not in (FETCH, COLLATE)]
    loading = trace.once(weigh_loader)
    for work in works[:_WORKS]:
        if loads_in_process(trace):
            half, all_ = (Change(waiting, share * work.share) for share in (0.5, 1.0))
        else:
            ns = work.self_ns // max(1, loading.batches * max(1, loading.workers))
            half, all_ = (Change(sooner_ns=saved) for saved in (ns // 2, ns))
        yield f"loader: {work.work}", half, all_


_WORKS = 3
"""Of the loader's work, that many sorts are replayed."""


class _Work:
    """The work of one device, and what could be changed about it."""

    def __init__(self, trace: Trace, device: int, worth: float) -> None:
        self._trace = trace
        self._worth = worth
        here = trace.gpu["device"] == device
        self.kernels: _Mask = here & trace.kernels
        self._copies: _Mask = here & (trace.gpu["kind"] == Kind.MEMCPY)
        codes = np.unique(trace.gpu["name"][self.kernels]).tolist()
        self._names = {code: trace.strings[code] for code in codes}
        self._total = sum_by(trace.gpu["name"][self.kernels], self._dur(self.kernels), max(codes, default=0) + 1)

    def changes(self) -> Iterator[tuple[str, Change, Change]]:
        """Yield work that could take less time, done in part and done altogether."""
        eligible = self._of(code for code, name in self._names.items() if uses_tensor_cores(name) is False)
        yield from self._faster("tensor_cores", eligible, TENSOR_CORE_SPEEDUP)
        for family in _FAMILIES:
            rows = self._of(code for code, name in self._names.items() if kernel_family(name) == family)
            yield from self._gone(f"{family} kernels", rows)
        collectives = self._of(code for code, name in self._names.items() if kernel_family(name) == "collective")
        yield from self._faster("collectives", collectives, (2.0, np.inf))
        others = [code for code, name in self._names.items() if kernel_family(name) != "collective"]
        dearest = max(others, key=lambda code: self._total[code], default=NONE)
        if dearest != NONE and self._total[dearest] > DOMINANT_SHARE * self._total.sum():
            yield from self._faster("dominant kernel", self._of([dearest]), KERNEL_SPEEDUP)
        pageable: _Mask = self._copies & (self._trace.gpu["host_memory"] == HOST_MEMORY.index("pageable"))
        calls = np.unique(self._trace.launched_by[pageable])
        blocked = int(self._trace.api["dur_ns"][calls[calls >= 0]].sum())
        if pageable.any() and self._ns(pageable) + blocked > self._worth:
            faster, hidden = (Change(without=("copies",), scale=_scale(pageable, by)) for by in (0.5, 0.0))
            yield "pageable", faster, hidden
        managed: _Mask = self._copies & (self._trace.gpu["host_memory"] == HOST_MEMORY.index("managed"))
        yield from self._faster("exposed copies", self._copies & ~pageable & ~managed, (2.0, np.inf))
        yield from self._faster("migrations", managed, (2.0, np.inf))
        tiny: _Mask = self.kernels & (self._trace.gpu["dur_ns"] < TINY_NS)
        if 2 * tiny.sum() >= self.kernels.sum():
            ops = self._launching(tiny)
            half, none = Change(ops, 0.5, scale=_scale(tiny, 0.5)), Change(ops, scale=_scale(tiny, 0.0))
            yield "tiny kernels", half, none

    def _dur(self, rows: _Mask) -> Ns:
        dur: Ns = self._trace.gpu["dur_ns"][rows]
        return dur

    def _ns(self, rows: _Mask) -> int:
        return int(self._dur(rows).sum())

    def _of(self, codes: Iterable[int]) -> _Mask:
        """Tell which kernels have one of these names."""
        chosen = np.zeros(len(self._trace.strings.texts), np.bool_)
        chosen[list(codes)] = True
        found: _Mask = self.kernels & chosen[self._trace.gpu["name"]]
        return found

    def _faster(self, name: str, rows: _Mask, factors: tuple[float, float]) -> Iterator[tuple[str, Change, Change]]:
        if self._ns(rows) > self._worth:
            part, whole = (Change(scale=_scale(rows, 1 / factor)) for factor in factors)
            yield name, part, whole

    def _gone(self, name: str, rows: _Mask) -> Iterator[tuple[str, Change, Change]]:
        if self._ns(rows) > self._worth:
            yield self._removed(name, rows)

    def _removed(self, name: str, rows: _Mask) -> tuple[str, Change, Change]:
        """Halve kernels; remove them, and the innermost operators that launch nothing else."""
        return name, Change(scale=_scale(rows, 0.5)), Change(self._launching(rows), scale=_scale(rows, 0.0))

    def _launching(self, rows: _Mask) -> Spans:
        trace = self._trace
        if not trace.has("api"):
            return Spans.empty()
        launched = trace.launched_by >= 0
        by_thread = np.where(launched, trace.api["thread"][trace.launched_by], NONE)
        owner = np.full(len(trace.gpu), NOTHING, np.int64)
        owner[launched] = trace.innermost(trace.ops).at(by_thread[launched], trace.gpu_launch_ns[launched])
        others = np.unique(owner[launched & ~rows])
        only = np.setdiff1d(np.unique(owner[launched & rows]), np.r_[others, NOTHING])
        ops = trace.ops.rows(only)
        return Spans.merged(ops["start_ns"], ops.end_ns)


def _scale(rows: _Mask, factor: float) -> npt.NDArray[np.float64]:
    return np.where(rows, factor, 1.0)


DOMINANT_SHARE = 0.3
"""Of the kernel time: from here on, a kernel is worth a finding of its own."""
