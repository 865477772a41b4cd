"""Collectives: how long they run, and how much of it no compute hides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import Lanes, distinct, rows_by, sum_by
from tbperf.trace import NONE
from tbperf.trace.names import COLLECTIVE

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Trace

OPERATION = re.compile(
    r"(AllReduce|AllGather|ReduceScatter|Broadcast|Reduce|SendRecv|AllToAll|Send|Recv)", re.IGNORECASE
)


@dataclass(frozen=True)
class Collectives:
    """The collectives of one sort on one device."""

    device: int
    operation: str
    calls: int
    total_ns: int
    exposed_ns: int
    """Time in which no other kernel of the device ran."""
    bytes: int | None
    """Sizes of the messages, summed; null where the recorder does not tell."""
    bytes_per_s: float | None
    """Size by duration of a call in the middle: what waiting for late ranks leaves of the link's speed."""


def operation_of(trace: Trace) -> tuple[Ns, list[str]]:
    """Return for each device activity the number of its operation, -1 for what is no collective; and their names."""
    operations: dict[str, int] = {}

    def label(name: str) -> int:
        if not COLLECTIVE.match(name):
            return -1
        match = OPERATION.search(name)
        return operations.setdefault(match[1] if match else name, len(operations))

    return trace.labelled(trace.gpu, label), list(operations)


def sum_collectives(trace: Trace) -> Rows[Collectives]:
    """Sum collective kernels by device and operation."""
    operation, names = operation_of(trace)
    rows = np.flatnonzero(trace.kernels & (operation >= 0))
    sorts, at = distinct(trace.gpu["device"][rows], operation[rows])
    exposed = _exposed(trace, operation, rows, at)
    found = []
    for number, places in rows_by(at):
        device, code = sorts[number]
        size, dur = trace.gpu["bytes"][rows[places]], trace.gpu["dur_ns"][rows[places]]
        known = (size > 0) & (dur > 0)
        found.append(
            Collectives(
                device=device,
                operation=names[code],
                calls=len(places),
                total_ns=int(dur.sum()),
                exposed_ns=exposed[number],
                bytes=int(size.sum()) if (size != NONE).all() else None,
                bytes_per_s=float(np.median(size[known] * 1e9 / dur[known])) if known.any() else None,
            )
        )
    return Rows.first(sorted(found, key=lambda row: -row.exposed_ns), lambda row: row.exposed_ns)


def _exposed(trace: Trace, operation: Ns, rows: Ns, group: Ns) -> list[int]:
    """Return for each group of some collectives how much of its time no computing kernel of its device hides."""
    start, end = trace.gpu["start_ns"][rows], trace.gpu.end_ns[rows]
    groups = int(group.max(initial=-1)) + 1
    lanes = Lanes(groups, start, end)
    merged = lanes.merged(group, start, end)
    of, start, end = lanes.lane(merged.start), lanes.times(merged.start), lanes.times(merged.end)
    device_of = np.zeros(groups, np.int64)
    device_of[group] = trace.gpu["device"][rows]
    exposed = end - start
    for device, places in rows_by(device_of[of]):
        computing = trace.gpu_spans((trace.gpu["device"] == device) & trace.kernels & (operation < 0))
        exposed[places] -= computing.total_within(start[places], end[places])
    found: list[int] = sum_by(of, exposed, groups).tolist()
    return found
