"""Copies by direction and host memory: how much, how fast, and how much of it nothing hides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.kernels import stage_times
from tbperf.analyses.rows import Rows
from tbperf.intervals import Spans, sum_by
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
    """Sizes, of 64 kB and more, that were copied again and again: at least three times."""
    stage: Mapping[str, int] = field(default_factory=dict)
    """Nanoseconds by the stage that asked for them."""


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
    by_stage = sum_by(trace.gpu_stage[rows] + 1, gpu["dur_ns"][rows], len(trace.stage_names) + 1)
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
        repeated_sizes=int((np.unique(sizes[sizes >= _LARGE_BYTES], return_counts=True)[1] >= _AGAIN).sum()),
        stage=stage_times(trace, by_stage.tolist()),
    )


def _is_blocking(name: str) -> bool:
    return bool(COPY_CALL.match(name)) and not ASYNC_COPY_CALL.match(name)


def _blocked_ns(trace: Trace, rows: Ns) -> int:
    """Return the time in the calls that asked for some copies, and in the synchronization that follows at once."""
    calls = np.unique(trace.launched_by[rows])
    calls = calls[calls >= 0]
    if not calls.size:
        return 0
    syncs = np.flatnonzero(trace.named(trace.api, SYNCHRONIZE.match))
    total = int(trace.api["dur_ns"][calls].sum())
    for thread in np.unique(trace.api["thread"][calls]).tolist():
        mine = syncs[trace.api["thread"][syncs] == thread]
        mine = mine[np.argsort(trace.api["start_ns"][mine], kind="stable")]
        ends = trace.api.end_ns[calls[trace.api["thread"][calls] == thread]]
        following = np.searchsorted(trace.api["start_ns"][mine], ends)
        known = following < len(mine)
        soon = trace.api["start_ns"][mine[following[known]]] - ends[known] < _AT_ONCE_NS
        total += int(trace.api["dur_ns"][np.unique(mine[following[known]][soon])].sum())
    return total


_AT_ONCE_NS = 10_000
