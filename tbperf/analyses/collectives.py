"""Collectives: how long they run, and how much of it no compute hides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.trace.names import COLLECTIVE

if TYPE_CHECKING:
    from tbperf.trace import Trace

_OPERATION = re.compile(
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


def sum_collectives(trace: Trace) -> Rows[Collectives]:
    """Sum collective kernels by device and operation."""
    operations: dict[str, int] = {}

    def label(name: str) -> int:
        if not COLLECTIVE.match(name):
            return -1
        match = _OPERATION.search(name)
        return operations.setdefault(match[1] if match else name, len(operations))

    operation = trace.strings.labelled(label)[trace.gpu["name"]]
    found = []
    for device in trace.devices:
        here = (trace.gpu["device"] == device) & trace.kernels
        computing = trace.gpu_spans(here & (operation < 0))
        for name, code in operations.items():
            rows = here & (operation == code)
            if rows.any():
                found.append(
                    Collectives(
                        device=device,
                        operation=name,
                        calls=int(rows.sum()),
                        total_ns=int(np.sum(trace.gpu["dur_ns"][rows])),
                        exposed_ns=(trace.gpu_spans(rows) - computing).total_ns,
                    )
                )
    return Rows(sorted(found, key=lambda row: -row.exposed_ns))
