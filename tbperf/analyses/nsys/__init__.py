"""What NVIDIA's own tools would state of an Nsight Systems recording, by their definitions.

It stands beside the report's own answers, so that figures can be compared with `nsys stats` and `nsys analyze`, and
goes no further: causes, shares and findings are the report's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tbperf.analyses.nsys.projection import (
    Execution,
    Projection,
    RangeKernels,
    sum_executions,
    sum_kernels_by_range,
    sum_projections,
)
from tbperf.analyses.nsys.rules import (
    IdleSpan,
    LowUse,
    MemoryOperation,
    SyncCall,
    find_blocking_copies,
    find_blocking_memsets,
    find_gaps,
    find_low_use,
    find_pageable_async_copies,
    find_syncs,
)
from tbperf.analyses.nsys.sums import (
    RangeSum,
    ShapeSum,
    SizeSum,
    Sum,
    sum_api_calls,
    sum_kernels,
    sum_kernels_by_shape,
    sum_memory_by_size,
    sum_memory_by_time,
    sum_os_calls,
    sum_ranges,
)
from tbperf.analyses.rows import Rows

if TYPE_CHECKING:
    from tbperf.trace import Trace

MOST_ROWS = 200
"""Of each list; the rest is in the report's own tables or, event by event, in the recording."""

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class RuleHits:
    """How often one of NVIDIA's rules applies."""

    rule: str
    hits: int
    total_ns: int
    """Durations of what it applies to, summed."""


@dataclass(frozen=True)
class Nsys:
    """One process, by NVIDIA's definitions.  Each list holds at most its 200 dearest rows; times are nanoseconds."""

    kernel_sums: Rows[Sum]
    """cuda_gpu_kern_sum"""
    kernel_shape_sums: Rows[ShapeSum]
    """cuda_gpu_kern_gb_sum"""
    memory_time_sums: Rows[Sum]
    """cuda_gpu_mem_time_sum"""
    memory_size_sums: Rows[SizeSum]
    """cuda_gpu_mem_size_sum"""
    api_sums: Rows[Sum]
    """cuda_api_sum"""
    os_sums: Rows[Sum]
    """osrt_sum"""
    range_sums: Rows[RangeSum]
    """nvtx_sum"""
    projections: Rows[Projection]
    """nvtx_gpu_proj_sum"""
    range_kernels: Rows[RangeKernels]
    """nvtx_kern_sum"""
    kernel_execution: Rows[Execution]
    """cuda_kern_exec_sum"""
    rules: Rows[RuleHits]
    """All hits of the rules below, also those beyond the 200."""
    gpu_gaps: Rows[IdleSpan]
    """Longer than 500 ms."""
    gpu_time_util: Rows[LowUse]
    """Of 30 chunks, those used less than half."""
    cuda_memcpy_async: Rows[MemoryOperation]
    cuda_memcpy_sync: Rows[MemoryOperation]
    cuda_memset_sync: Rows[MemoryOperation]
    cuda_api_sync: Rows[SyncCall]


def state(trace: Trace) -> Nsys:
    """State what NVIDIA's tools would of this process."""
    traces = [trace]
    hits: dict[str, Rows[Any]] = {rule: find(trace) for rule, find in _RULES.items()}
    return Nsys(
        kernel_sums=_dearest(sum_kernels(traces)),
        kernel_shape_sums=_dearest(sum_kernels_by_shape(traces)),
        memory_time_sums=_dearest(sum_memory_by_time(traces)),
        memory_size_sums=_dearest(sum_memory_by_size(traces)),
        api_sums=_dearest(sum_api_calls(traces)),
        os_sums=_dearest(sum_os_calls(traces)),
        range_sums=_dearest(sum_ranges(traces)),
        projections=_dearest(sum_projections(traces)),
        range_kernels=_dearest(sum_kernels_by_range(traces)),
        kernel_execution=_dearest(sum_executions(trace)),
        rules=Rows(RuleHits(rule, len(rows), sum(row.dur_ns for row in rows)) for rule, rows in hits.items()),
        **{rule: _dearest(rows) for rule, rows in hits.items()},
    )


_RULES: Mapping[str, Callable[[Trace], Rows[Any]]] = {
    "gpu_gaps": find_gaps,
    "gpu_time_util": find_low_use,
    "cuda_memcpy_async": find_pageable_async_copies,
    "cuda_memcpy_sync": find_blocking_copies,
    "cuda_memset_sync": find_blocking_memsets,
    "cuda_api_sync": find_syncs,
}


def _dearest(rows: Rows[RowT]) -> Rows[RowT]:
    return Rows(rows[:MOST_ROWS])
