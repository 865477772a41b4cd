"""What would be gained: the recorded run, replayed with a cause removed.

Idle time that a cause is charged with is not what its removal saves: the host runs ahead, work queues up, and the next
limit appears.  The replay keeps what the recording shows of the dependencies:

- a piece of device work starts when it was launched and what precedes it on its stream has ended, plus the delay that
  was observed beyond that (launch latency, waits for other streams);
- the host goes on as recorded, but a call that waited for the device returns when that work has ended.

With nothing removed it gives the recorded times exactly.  Removing host time moves everything that the host does later;
removing half of it gives the lower figure, all of it the higher one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.idle import CAUSES, HostActivity, attribute
from tbperf.analyses.rows import Rows
from tbperf.intervals import Spans
from tbperf.trace import NONE, Kind
from tbperf.trace.names import COPY_CALL, SYNCHRONIZE, uses_tensor_cores

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Trace

WORTH_SHARE = 0.01
"""Causes below this share of the window are not replayed."""

MOST_CAUSES = 4
MOST_WAITS = 50_000
"""With more waiting calls the replay would take longer than reading."""

_RETURN_NS = 5_000
"""What a synchronizing call takes when there is nothing to wait for."""

TENSOR_CORE_SPEEDUP = (1.5, 3.0)
"""Matrix work in half precision by fp32, as a cautious and a usual factor."""


@dataclass(frozen=True)
class WhatIf:
    """The window of one device with one thing changed."""

    device: int
    change: str
    """A cause of idle time that is removed; ``host``: launch calls, operators and Python together;
    ``synchronizing``: calls that wait for the device return at once; ``tensor_cores``: matrix work that tensor cores
    could do runs on them."""
    low_ns: int
    """Saved with half of it done (tensor cores: a factor of 1.5)."""
    high_ns: int
    """Saved with all of it done (tensor cores: a factor of 3)."""


@dataclass(frozen=True)
class _Wait:
    """A call that waits for the device."""

    start: int
    end: int
    work: int
    """Row, in launch order, that it waits for; -1 for none."""
    tail: int
    """From the end of that work to the return."""
    least: int
    """What the call takes when the work is done already."""


class Replay:
    """The work of one device and the calls that wait for it, ready to be replayed."""

    def __init__(self, trace: Trace, device: int) -> None:
        rows = np.flatnonzero(trace.gpu["device"] == device)
        launch = trace.gpu_launch_ns[rows]
        start = trace.gpu["start_ns"][rows]
        rows = rows[np.lexsort((start, np.minimum(launch, start)))]
        self._launch = np.minimum(trace.gpu_launch_ns[rows], trace.gpu["start_ns"][rows])
        self._start = trace.gpu["start_ns"][rows]
        self._dur = trace.gpu["dur_ns"][rows]
        self._end = self._start + self._dur
        _, self._stream = np.unique(trace.gpu["stream"][rows], return_inverse=True)
        self._delay = self._start - np.maximum(self._launch, self._previous_end())
        self._window = trace.windows[device]
        self._rows = rows
        self.waits = self._find_waits(trace, rows)

    def _previous_end(self) -> Ns:
        """Return the end of what precedes each row on its stream; in launch order, as streams run it."""
        previous = np.full(self._start.shape, np.iinfo(np.int64).min // 2, np.int64)
        for stream in range(int(self._stream.max()) + 1 if self._stream.size else 0):
            mine = np.flatnonzero(self._stream == stream)
            previous[mine[1:]] = self._end[mine[:-1]]
        return previous

    def _find_waits(self, trace: Trace, rows: Ns) -> list[_Wait]:
        """Find the calls of the host that wait for the device: synchronizations, and copies that return when done."""
        api = trace.api
        calls = np.flatnonzero(trace.named(api, SYNCHRONIZE.match) | trace.named(api, COPY_CALL.match))
        calls = calls[np.argsort(api["start_ns"][calls], kind="stable")]
        own = dict(zip(trace.launched_by[rows].tolist(), range(len(rows)), strict=True))
        synchronizes = trace.named(api, SYNCHRONIZE.match)
        latest = np.maximum.accumulate(self._end) if len(rows) else self._end
        waits, free_from = [], -1
        for call in calls.tolist():
            start, end = int(api["start_ns"][call]), int(api.end_ns[call])
            if start < free_from:  # another thread waits already
                continue
            if synchronizes[call]:
                launched = int(np.searchsorted(self._launch, start, side="right"))
                work = launched - 1
                # What it waited for is what ended last before it returned.
                while work >= 0 and self._end[work] > end:
                    work -= 1
                if work >= 0 and latest[work] > start:
                    work = int(np.argmax(np.where(self._end[: work + 1] <= end, self._end[: work + 1], -1)))
            else:
                work = own.get(call, NONE)
                if work == NONE or self._end[work] > end:
                    continue
            waited = work >= 0 and self._end[work] > start
            waits.append(
                _Wait(
                    start=start,
                    end=end,
                    work=work,
                    tail=end - int(self._end[work]) if waited else 0,
                    least=min(end - start, _RETURN_NS) if waited else end - start,
                )
            )
            free_from = end
        return waits

    def saved(
        self, removed: Spans | None = None, share: float = 1.0, *, waits: bool = True, scale: Ns | None = None
    ) -> int:
        """Return by how much the window shrinks.

        ``removed``: host time, of which a share goes; ``waits=False``: no call waits for the device; ``scale``: factor
        on the duration of each row of the gpu table.
        """
        removed = removed if removed is not None else Spans.empty()
        dur = self._dur if scale is None else np.rint(self._dur * scale[self._rows]).astype(np.int64)
        gone = np.rint(removed.covered_before(self._launch) * share).astype(np.int64)
        launch = self._launch - gone
        end = np.empty_like(self._end)
        tails = [np.iinfo(np.int64).min // 2] * (int(self._stream.max()) + 1)
        shift, done = 0, 0
        moments = np.array([(w.start, w.end) for w in self.waits], np.int64).reshape(-1, 2)
        gone_at = np.rint(removed.covered_before(moments) * share).astype(np.int64)
        until = np.searchsorted(self._launch, moments[:, 0], side="right")
        for index, wait in enumerate(self.waits):
            self._run(done, int(until[index]), launch, dur, shift, end, tails)
            done = max(done, int(until[index]))
            begin = wait.start - int(gone_at[index, 0]) + shift
            finish = begin + (wait.least if waits else 0)
            if waits and 0 <= wait.work < done:
                finish = max(finish, int(end[wait.work]) + wait.tail)
            elif waits and wait.work >= done:  # the copy that this very call launches
                self._run(done, wait.work + 1, launch, dur, shift, end, tails)
                done = wait.work + 1
                finish = max(finish, int(end[wait.work]) + wait.tail)
            shift = finish - (wait.end - int(gone_at[index, 1]))
        self._run(done, len(launch), launch, dur, shift, end, tails)
        begin = int((end - dur).min())
        return (self._window[1] - self._window[0]) - (int(end.max()) - begin)

    def _run(  # noqa: PLR0913, PLR0917 - the state of the replay
        self, first: int, last: int, launch: Ns, dur: Ns, shift: int, end: Ns, tails: list[int]
    ) -> None:
        """Run the work that is launched between two waits: ``end = max(launch, end before) + delay + dur``."""
        if last <= first:
            return
        streams = self._stream[first:last]
        for stream in np.unique(streams).tolist() if len(tails) > 1 else (0,):
            mine = slice(first, last) if len(tails) == 1 else first + np.flatnonzero(streams == stream)
            work = self._delay[mine] + dur[mine]
            total = np.cumsum(work)
            before = total - work
            ready = np.maximum.accumulate(launch[mine] + shift - before)
            end[mine] = np.maximum(ready, tails[stream]) + total
            tails[stream] = int(end[mine][-1])


_HOST = ("launch", "host_op", "python")
_OTHERWISE = ("queued", "unknown", "sync")
"""Causes that no host time can be taken away for."""


def explore(trace: Trace) -> Rows[WhatIf]:
    """Replay each device without its dearest causes of idle time, without waits, and with tensor cores."""
    host = trace.once(HostActivity)
    found = []
    ledger = trace.once(attribute).causes
    for device in trace.devices:
        start, end = trace.windows[device]
        worth = WORTH_SHARE * (end - start)
        causes = [row.cause for row in ledger if row.device == device and row.idle_ns > worth]
        eligible = (trace.gpu["device"] == device) & (trace.gpu["kind"] == Kind.KERNEL)
        eligible &= trace.named(trace.gpu, lambda name: uses_tensor_cores(name) is False)
        without_cores = int(trace.gpu["dur_ns"][eligible].sum()) > worth
        if not causes and not without_cores:
            continue
        replay = Replay(trace, device)
        if len(replay.waits) > MOST_WAITS:
            continue
        tiling = host.causes(trace.main_thread)
        changes = {
            cause: tiling.spans_of(CAUSES.index(cause))
            for cause in [cause for cause in causes if cause not in _OTHERWISE][:MOST_CAUSES]
        }
        if any(cause in _HOST for cause in causes):
            changes["host"] = functools.reduce(Spans.__or__, (tiling.spans_of(CAUSES.index(cause)) for cause in _HOST))
        for change, spans in changes.items():
            low, high = sorted(max(0, replay.saved(spans, share)) for share in (0.5, 1.0))
            found.append(WhatIf(device, change, low, high))
        if replay.waits and causes:
            saved = max(0, replay.saved(waits=False))
            found.append(WhatIf(device, "synchronizing", saved // 2, saved))
        if without_cores:
            low, high = (
                max(0, replay.saved(scale=np.where(eligible, 1 / factor, 1.0))) for factor in TENSOR_CORE_SPEEDUP
            )
            found.append(WhatIf(device, "tensor_cores", low, high))
    return Rows(sorted(found, key=lambda row: -row.high_ns))
