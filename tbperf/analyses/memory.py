"""Device memory, where the recorder wrote allocations (``--memory``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tbperf.analyses.kernels import UNNAMED
from tbperf.analyses.rows import Rows
from tbperf.intervals import rows_by
from tbperf.trace import NONE

if TYPE_CHECKING:
    import numpy as np

    from tbperf.trace import Trace


@dataclass(frozen=True)
class MemoryUse:
    """Allocations on one device; -1 stands for the host."""

    device: int
    allocations: int
    allocated_bytes: int
    """Bytes of all allocations, summed: what went through the allocator."""
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None
    """What the caching allocator held at most."""
    capacity_bytes: int | None
    """Memory of the device."""
    stage_peak_bytes: Mapping[str, int]
    """Peak of what was allocated, by stage."""
    stage_reserved_bytes: Mapping[str, int]
    """Peak of what the caching allocator held, by stage."""
    unused_share: float | None
    """Part of the reserved memory that was not allocated when most was: fragments and leftovers."""
    churn_bytes_per_step: int | None
    """Bytes allocated by step; null without steps."""


def measure_memory(trace: Trace) -> Rows[MemoryUse]:
    """Sum allocations by device."""
    table = trace.memory
    capacity = {gpu.device: gpu.memory_bytes for gpu in trace.gpus}
    stage = trace.stage_tiling.at(table["start_ns"])
    found = []
    for device, here in rows_by(table["device"]):
        size, allocated, reserved = (table[column][here] for column in ("bytes", "allocated", "reserved"))
        by_stage, reserved_by_stage = {}, {}
        for label, rows in rows_by(stage[here]):
            name = trace.stage_name(label) or UNNAMED
            by_stage[name] = int(allocated[rows].max())
            held = int(reserved[rows].max())
            if held != NONE:
                reserved_by_stage[name] = held
        found.append(
            MemoryUse(
                device=device,
                allocations=int((size > 0).sum()),
                allocated_bytes=int(size[size > 0].sum()),
                peak_allocated_bytes=_peak(allocated),
                peak_reserved_bytes=_peak(reserved),
                capacity_bytes=capacity.get(device),
                stage_peak_bytes=_dearest(by_stage),
                stage_reserved_bytes=_dearest(reserved_by_stage),
                unused_share=_unused(allocated, reserved),
                churn_bytes_per_step=int(size[size > 0].sum()) // len(trace.steps) if len(trace.steps) else None,
            )
        )
    found.sort(key=lambda row: -(row.peak_allocated_bytes or 0))
    return Rows.first(found, lambda row: row.peak_allocated_bytes or 0)


def _dearest(sizes: dict[str, int]) -> dict[str, int]:
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _unused(allocated: np.ndarray, reserved: np.ndarray) -> float | None:
    if not allocated.size or (peak := int(allocated.argmax())) < 0 or reserved[peak] <= 0:
        return None
    return 1 - int(allocated[peak]) / int(reserved[peak])


def _peak(values: np.ndarray) -> int | None:
    peak = int(values.max()) if values.size else NONE
    return None if peak == NONE else peak
