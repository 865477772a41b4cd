"""Which kernels take the device's time: by name, and by the sort of work that they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.intervals import distinct, rows_by, sum_by
from tbperf.trace import NONE
from tbperf.trace.names import kernel_family, uses_tensor_cores

if TYPE_CHECKING:
    from tbperf.intervals import Ns
    from tbperf.trace import Trace

UNNAMED = "unnamed"
"""Key for work that was launched in no stage, in tables by stage."""

TINY_NS = 10_000
"""A kernel shorter than this costs about as much to launch as to run."""


@dataclass(frozen=True)
class Hotspot:
    """The kernels of one name on one device."""

    device: int
    name: str
    family: str
    """The sort of work, told by the name."""
    tensor_cores: bool | None
    """Whether the name tells of tensor cores; null for work that they cannot do."""
    calls: int
    total_ns: int
    mean_ns: int
    min_ns: int
    max_ns: int
    longest_start_ns: int
    """Where the longest call began."""
    share: float
    """Of the durations of all kernels of the device; the shares of a device sum to 1."""
    blocks: int | None
    """Thread blocks of the longest call."""
    block_threads: int | None
    """Threads of a block of the longest call."""
    occupancy: int | None
    """Estimated achieved occupancy of the longest call in percent, by the recorder."""
    stage: Mapping[str, int] = field(default_factory=dict)
    """Nanoseconds by the stage that launched them."""


@dataclass(frozen=True)
class KernelFamily:
    """The kernels of one sort of work on one device."""

    device: int
    family: str
    calls: int
    total_ns: int
    share: float
    """Of the durations of all kernels of the device."""
    tiny_calls: int
    """Calls shorter than 10 µs."""
    tiny_ns: int
    tensor_core_ns: int
    """Time in kernels whose name tells of tensor cores."""
    without_tensor_cores_ns: int
    """Time in kernels whose work tensor cores could do, and whose name tells of none."""


def find_hotspots(trace: Trace) -> Rows[Hotspot]:
    """Sum kernels by device and name."""
    rows = np.flatnonzero(trace.kernels)
    if not rows.size:
        return Rows()
    texts = len(trace.strings.texts)
    key = trace.gpu["device"][rows].astype(np.int64) * texts + trace.gpu["name"][rows]
    keys, at = np.unique(key, return_inverse=True)
    dur = trace.gpu["dur_ns"][rows]
    calls = np.bincount(at, minlength=len(keys))
    total = sum_by(at, dur, len(keys))
    order = np.lexsort((dur, at))
    ends = np.cumsum(calls)
    shortest, longest = order[ends - calls], order[ends - 1]
    by_stage = stages_of_groups(trace, at, trace.gpu_stage[rows], dur, len(keys))
    devices = keys // texts
    of_device = {device: int(total[which].sum()) for device, which in rows_by(devices)}

    def row(i: int) -> Hotspot:
        name, device = trace.strings[int(keys[i] % texts)], int(devices[i])
        detail = {
            column: None if (value := int(trace.gpu[column][rows[longest[i]]])) == NONE else value
            for column in ("blocks", "block_threads", "occupancy")
        }
        return Hotspot(
            device=device,
            name=name,
            family=kernel_family(name),
            tensor_cores=uses_tensor_cores(name),
            calls=int(calls[i]),
            total_ns=int(total[i]),
            mean_ns=int(total[i] // calls[i]),
            min_ns=int(dur[shortest[i]]),
            max_ns=int(dur[longest[i]]),
            longest_start_ns=int(trace.gpu["start_ns"][rows[longest[i]]]),
            share=int(total[i]) / max(1, of_device[device]),
            **detail,
            stage=by_stage[i],
        )

    return Rows.dearest(row, total)


def sum_families(trace: Trace) -> Rows[KernelFamily]:
    """Sum kernels by device and sort of work."""
    families: dict[str, int] = {}
    family = trace.labelled(trace.gpu, lambda name: families.setdefault(kernel_family(name), len(families)))
    tensor_cores = trace.labelled(trace.gpu, lambda name: {None: -1, False: 0, True: 1}[uses_tensor_cores(name)])
    found = []
    for device in trace.devices:
        rows = np.flatnonzero(trace.kernels & (trace.gpu["device"] == device))
        dur, label, tensor = trace.gpu["dur_ns"][rows], family[rows], tensor_cores[rows]
        tiny = dur < TINY_NS
        calls, tiny_calls = (np.bincount(label[rows], minlength=len(families)) for rows in (dur >= 0, tiny))
        sums = [sum_by(label[rows], dur[rows], len(families)) for rows in (dur >= 0, tiny, tensor == 1, tensor == 0)]
        whole = max(1, int(sums[0].sum()))
        found += [
            KernelFamily(
                device=device,
                family=name,
                calls=int(calls[code]),
                total_ns=int(sums[0][code]),
                share=int(sums[0][code]) / whole,
                tiny_calls=int(tiny_calls[code]),
                tiny_ns=int(sums[1][code]),
                tensor_core_ns=int(sums[2][code]),
                without_tensor_cores_ns=int(sums[3][code]),
            )
            for name, code in families.items()
            if calls[code]
        ]
    return Rows(sorted(found, key=lambda row: -row.total_ns))


def stages_of_groups(trace: Trace, group: Ns, stage: Ns, ns: Ns, groups: int) -> list[dict[str, int]]:
    """Sum times of each group by the name of their stage; dearest first, without zeros."""
    pairs, at = distinct(group, stage)
    total = sum_by(at, ns, len(pairs)).tolist()
    found: list[dict[str, int]] = [{} for _ in range(groups)]
    for (of, label), sum_ns in sorted(zip(pairs, total, strict=True), key=lambda item: (-item[1], item[0])):
        if sum_ns:
            found[of][trace.stage_name(label) or UNNAMED] = sum_ns
    return found
