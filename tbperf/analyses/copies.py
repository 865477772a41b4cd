"""Copies by direction and host memory: how much, how fast, and how much of it nothing hides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.kernels import stages_of_groups
from tbperf.analyses.rows import Rows
from tbperf.intervals import NOTHING, Lanes, Spans
from tbperf.trace import COPY_KINDS, HOST_MEMORY, NONE, Kind
from tbperf.trace.names import ASYNC_COPY_CALL, COPY_CALL, SYNCHRONIZE

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Trace


@dataclass(frozen=True)
class Copies:
    """The copies of one direction and host memory on one device."""

    device: int
    copy_kind: str | None
    host_memory: str | None
    calls: int
    bytes: int | None
    total_ns: int
    exposed_ns: int
    """Time of these copies in which no kernel of the device ran."""
    host_blocked_ns: int | None
    """Time that the host spent in the calls that asked for them."""
    bytes_per_s: float | None
    tiny_calls: int
    """Copies of at most 4 kB: what they carry takes less time than to ask for it."""
    tiny_blocked_ns: int
    """Time that the host spent in the calls that asked for those, and waiting for them to arrive."""
    blocking_calls: int
    """Copies by calls that wait until the data has arrived."""
    repeated_sizes: int
    """Sizes, of 64 kB and more, that were copied again and again: at least three times, and more than once a step."""
    stage: Mapping[str, int] = field(default_factory=dict)
    """Nanoseconds by the stage that asked for them."""


@dataclass(frozen=True)
class Copy:
    """One copy."""

    device: int
    start_ns: int
    dur_ns: int
    copy_kind: str | None
    host_memory: str | None
    stream: int | None
    bytes: int | None
    bytes_per_s: float | None
    of_best: float | None
    """Speed by that of the fastest copy of its direction in the trace, of at least 1 MB: the link's limit as seen."""
    exposed_ns: int
    """Time of it in which no kernel of the device ran."""
    host_blocked_ns: int | None
    """Time that the host spent in the call that asked for it."""
    blocking: bool
    """Whether that call waits until the data has arrived."""
    could_overlap_ns: int
    """Exposed time for which there was a kernel on another stream, launched already, that waited to start."""
    step: int | None
    stage: str | None
    op: str | None
    """The innermost operator or annotation around the call."""


TINY_BYTES = 4096
_LARGE_BYTES = 1 << 16
_AGAIN = 3


def sum_copies(trace: Trace) -> Rows[Copies]:
    """Sum copies by device, direction and host memory."""
    gpu = trace.gpu
    found = []
    for device in trace.devices:
        here = (gpu["device"] == device) & (gpu["kind"] == Kind.MEMCPY)
        computing = trace.gpu_spans((gpu["device"] == device) & trace.computes)
        sorts = np.unique(np.stack([gpu["copy_kind"][here], gpu["host_memory"][here]]), axis=1)
        found += [_copies(trace, device, here, computing, int(kind), int(memory)) for kind, memory in sorts.T]
    return Rows(sorted(found, key=lambda row: (-row.exposed_ns, -row.total_ns)))


def _copies(  # noqa: PLR0913, PLR0917 - one group of rows
    trace: Trace, device: int, here: np.ndarray, computing: Spans, kind: int, memory: int
) -> Copies:
    gpu = trace.gpu
    rows = here & (gpu["copy_kind"] == kind) & (gpu["host_memory"] == memory)
    sizes = gpu["bytes"][rows]
    total = int(gpu["dur_ns"][rows].sum())
    moved = int(sizes.sum()) if (sizes != NONE).all() else None
    calls = np.unique(trace.launched_by[rows])
    calls = calls[calls >= 0]
    tiny = (sizes >= 0) & (sizes <= TINY_BYTES)
    again = max(_AGAIN, len(trace.steps) + 1)
    (by_stage,) = stages_of_groups(trace, np.zeros(len(sizes), np.int64), trace.gpu_stage[rows], gpu["dur_ns"][rows], 1)
    return Copies(
        device=device,
        copy_kind=COPY_KINDS[kind] if kind != NONE else None,
        host_memory=HOST_MEMORY[memory] if memory != NONE else None,
        calls=int(rows.sum()),
        bytes=moved,
        total_ns=total,
        exposed_ns=(trace.gpu_spans(rows) - computing).total_ns,
        host_blocked_ns=int(trace.api["dur_ns"][calls].sum()) if calls.size else None,
        bytes_per_s=moved * 1e9 / total if moved is not None and total else None,
        tiny_calls=int(tiny.sum()),
        tiny_blocked_ns=_blocked_ns(trace, np.flatnonzero(rows)[tiny]),
        blocking_calls=int(trace.named(trace.api.rows(calls), _is_blocking).sum()),
        repeated_sizes=int((np.unique(sizes[sizes >= _LARGE_BYTES], return_counts=True)[1] >= again).sum()),
        stage=by_stage,
    )


DEAREST = 50
"""So many copies are described one by one."""
_BEST_BYTES = 1 << 20


def list_copies(trace: Trace) -> Rows[Copy]:
    """Describe the copies that cost most: exposed time first, then the time that their calls took."""
    gpu = trace.gpu
    found: list[Copy] = []
    for device in trace.devices:
        here = gpu["device"] == device
        rows = np.flatnonzero(here & (gpu["kind"] == Kind.MEMCPY))
        if not rows.size:
            continue
        computing = trace.gpu_spans(here & trace.computes)
        start, end = gpu["start_ns"][rows], gpu.end_ns[rows]
        exposed = gpu["dur_ns"][rows] - computing.total_within(start, end)
        call = trace.launched_by[rows]
        blocked = (
            np.where(call >= 0, trace.api["dur_ns"][call], 0) if trace.has("api") else np.zeros(len(rows), np.int64)
        )
        best = _best_speeds(trace, rows)
        chosen = np.argsort(-(np.maximum(exposed, 0) + blocked), kind="stable")[:DEAREST]
        waiting = _waiting_kernels(trace, device)
        ops = trace.innermost_names(np.maximum(call[chosen], 0)) if trace.has("api") else np.full(len(chosen), NOTHING)
        for at, op in zip(chosen.tolist(), ops.tolist(), strict=True):
            found.append(_copy(trace, int(rows[at]), int(exposed[at]), op if call[at] >= 0 else NOTHING, best, waiting))
    return Rows(sorted(found, key=lambda row: -(row.exposed_ns + (row.host_blocked_ns or 0)))[:DEAREST])


def _copy(  # noqa: PLR0913, PLR0917 - one row and what it is held against
    trace: Trace, row: int, exposed: int, op: int, best: Mapping[int, float], waiting: Spans
) -> Copy:
    gpu, call = trace.gpu, int(trace.launched_by[row])
    kind, memory, size, dur = (int(gpu[column][row]) for column in ("copy_kind", "host_memory", "bytes", "dur_ns"))
    start = int(gpu["start_ns"][row])
    speed = size * 1e9 / dur if size != NONE and dur else None
    step = int(trace.steps.at(np.array([trace.gpu_launch_ns[row]]))[0])
    stage = int(trace.gpu_stage[row])
    stream = int(gpu["stream"][row])
    return Copy(
        device=int(gpu["device"][row]),
        start_ns=start,
        dur_ns=dur,
        copy_kind=COPY_KINDS[kind] if kind != NONE else None,
        host_memory=HOST_MEMORY[memory] if memory != NONE else None,
        stream=None if stream == NONE else stream,
        bytes=None if size == NONE else size,
        bytes_per_s=speed,
        of_best=speed / best[kind] if speed is not None and kind in best else None,
        exposed_ns=exposed,
        host_blocked_ns=int(trace.api["dur_ns"][call]) if call != NONE else None,
        blocking=call != NONE and _is_blocking(trace.strings[trace.api["name"][call]]),
        could_overlap_ns=(Spans.one(start, start + dur) & waiting).total_ns,
        step=None if step == NOTHING else int(trace.steps.number[step]),
        stage=trace.stage_name(stage),
        op=None if op == NOTHING else trace.strings[op],
    )


def _best_speeds(trace: Trace, rows: Ns) -> dict[int, float]:
    """Return bytes per second of the fastest large copy of each direction."""
    gpu = trace.gpu
    large = rows[(gpu["bytes"][rows] >= _BEST_BYTES) & (gpu["dur_ns"][rows] > 0)]
    speed = gpu["bytes"][large] * 1e9 / gpu["dur_ns"][large]
    kinds = gpu["copy_kind"][large]
    return {int(kind): float(speed[kinds == kind].max()) for kind in np.unique(kinds)}


def _waiting_kernels(trace: Trace, device: int) -> Spans:
    """Return the time in which no kernel runs although one waits on a stream that has nothing else to do.

    Such a kernel could have run beside a copy, unless it needs what is copied.
    """
    rows = np.flatnonzero((trace.gpu["device"] == device) & (trace.launched_by >= 0))
    if not rows.size:
        return Spans.empty()
    order = np.lexsort((trace.gpu["start_ns"][rows], trace.gpu["stream"][rows]))
    rows = rows[order]
    stream = trace.gpu["stream"][rows]
    end = trace.gpu.end_ns[rows]
    before = np.r_[np.iinfo(np.int64).min, np.where(stream[1:] == stream[:-1], end[:-1], np.iinfo(np.int64).min)]
    ready = np.maximum(trace.api.end_ns[trace.launched_by[rows]], before)
    kernel = trace.kernels[rows]
    waits = Spans.merged(ready[kernel], trace.gpu["start_ns"][rows][kernel])
    return waits - trace.gpu_spans((trace.gpu["device"] == device) & trace.computes)


def _is_blocking(name: str) -> bool:
    return bool(COPY_CALL.match(name)) and not ASYNC_COPY_CALL.match(name)


def _blocked_ns(trace: Trace, rows: Ns) -> int:
    """Return the time in the calls that asked for some copies, and in the synchronization that follows at once."""
    calls = np.unique(trace.launched_by[rows])
    calls = calls[calls >= 0]
    if not calls.size:
        return 0
    api = trace.api
    syncs = np.flatnonzero(trace.named(api, SYNCHRONIZE.match))
    total = int(api["dur_ns"][calls].sum())
    if not syncs.size:
        return total
    ends, starts = api.end_ns[calls], api["start_ns"][syncs]
    lanes = Lanes(len(trace.threads), ends, starts)
    places = lanes.place(api["thread"][syncs], starts)
    order = np.argsort(places, kind="stable")
    following = np.searchsorted(places[order], lanes.place(api["thread"][calls], ends))
    sync = syncs[order[np.minimum(following, len(syncs) - 1)]]
    soon = (following < len(syncs)) & (api["thread"][sync] == api["thread"][calls])
    soon &= api["start_ns"][sync] - ends < _AT_ONCE_NS
    return total + int(api["dur_ns"][np.unique(sync[soon])].sum())


_AT_ONCE_NS = 10_000
