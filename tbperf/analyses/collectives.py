"""Collectives: how long they run, and how much of it no compute hides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.trace import NONE
from tbperf.trace.names import COLLECTIVE

if TYPE_CHECKING:
    import numpy.typing as npt

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


def operation_of(trace: Trace) -> tuple[npt.NDArray[np.integer], list[str]]:
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
    found = []
    for device in trace.devices:
        here = (trace.gpu["device"] == device) & trace.kernels
        computing = trace.gpu_spans(here & (operation < 0))
        for code, name in enumerate(names):
            rows = here & (operation == code)
            if rows.any():
                size, dur = trace.gpu["bytes"][rows], trace.gpu["dur_ns"][rows]
                known = (size > 0) & (dur > 0)
                found.append(
                    Collectives(
                        device=device,
                        operation=name,
                        calls=int(rows.sum()),
                        total_ns=int(np.sum(trace.gpu["dur_ns"][rows])),
                        exposed_ns=(trace.gpu_spans(rows) - computing).total_ns,
                        bytes=int(size.sum()) if (size != NONE).all() else None,
                        bytes_per_s=float(np.median(size[known] * 1e9 / dur[known])) if known.any() else None,
                    )
                )
    return Rows(sorted(found, key=lambda row: -row.exposed_ns))
