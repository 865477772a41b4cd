"""What `nsys stats` sums: kernels, memory operations by time and size, API calls, NVTX ranges, OS runtime calls.

The functions take several traces, for an export can hold several processes and NVIDIA sums over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tbperf.analyses.nsys.spread import Key, Spread, grouped
from tbperf.analyses.rows import Rows
from tbperf.intervals import distinct
from tbperf.trace import COPY_KINDS, NONE, RANGE_STYLES, Kind

if TYPE_CHECKING:
    import numpy.typing as npt

    from tbperf.intervals import Ns
    from tbperf.trace import Table, Trace


@dataclass(frozen=True)
class Sum:
    """Operations of one name; the shares of a list sum to 1."""

    name: str
    calls: int
    share: float
    """Of the time of all operations in the list; of the bytes where they are summed by size."""
    ns: Spread


@dataclass(frozen=True)
class SizeSum:
    """Copies and memsets of one sort, by size."""

    name: str
    calls: int
    share: float
    """Of the bytes of all operations."""
    bytes: Spread


@dataclass(frozen=True)
class ShapeSum:
    """Kernels of one name and launch shape."""

    name: str
    grid: str
    """Grid and block, as in 64×1×1 of 256×1×1."""
    calls: int
    share: float
    ns: Spread


@dataclass(frozen=True)
class RangeSum:
    """NVTX ranges of one name, domain and style."""

    name: str
    """With its domain in front, as in domain:name, but for the default domain."""
    style: str
    calls: int
    share: float
    ns: Spread


def sum_kernels(traces: Sequence[Trace], name_of: Callable[[str], str] = str) -> Rows[Sum]:
    """Sum kernels by name (cuda_gpu_kern_sum), or by what a function makes of it."""
    parts = [_by_name(trace, trace.gpu, trace.kernels, name_of) for trace in traces]
    return _sums(grouped(parts))


def sum_kernels_by_shape(traces: Sequence[Trace]) -> Rows[ShapeSum]:
    """Sum kernels by name, grid and block (cuda_gpu_kern_gb_sum)."""
    parts = []
    for trace in traces:
        rows = trace.gpu.rows(trace.kernels)
        pairs, at = distinct(rows["name"], rows["grid"])
        texts = trace.strings.texts
        keys: list[Key] = [(texts[name], texts[grid] if grid != NONE else "") for name, grid in pairs]
        parts.append((keys, at, rows["dur_ns"]))
    found = grouped(parts)
    whole = _whole(found)
    return Rows(ShapeSum(str(key[0]), str(key[1]), calls, ns.total / whole, ns) for key, calls, ns in found)


def sum_memory_by_time(traces: Sequence[Trace]) -> Rows[Sum]:
    """Sum copies by direction, and memsets, by time (cuda_gpu_mem_time_sum)."""
    return _sums(grouped([_memory(trace, "dur_ns") for trace in traces]))


def sum_memory_by_size(traces: Sequence[Trace]) -> Rows[SizeSum]:
    """Sum copies by direction, and memsets, by size (cuda_gpu_mem_size_sum)."""
    found = grouped([_memory(trace, "bytes") for trace in traces])
    whole = _whole(found)
    return Rows(SizeSum(str(key[0]), calls, size.total / whole, size) for key, calls, size in found)


def sum_api_calls(traces: Sequence[Trace]) -> Rows[Sum]:
    """Sum API calls by name (cuda_api_sum)."""
    return _sums(grouped([_by_name(trace, trace.api, np.ones(len(trace.api), np.bool_)) for trace in traces]))


def sum_os_calls(traces: Sequence[Trace]) -> Rows[Sum]:
    """Sum calls of the operating system's runtime by name (osrt_sum)."""
    return _sums(grouped([_by_name(trace, trace.os, np.ones(len(trace.os), np.bool_)) for trace in traces]))


def sum_ranges(traces: Sequence[Trace]) -> Rows[RangeSum]:
    """Sum NVTX ranges by style, domain and name (nvtx_sum; nvtx_pushpop_sum and nvtx_startend_sum by style)."""
    parts = []
    for trace in traces:
        rows = trace.ranges.rows(trace.ranges["style"] != NONE)
        triples, at = distinct(rows["name"], rows["domain"], rows["style"])
        keys: list[Key] = [(range_name(trace, name, domain), RANGE_STYLES[style]) for name, domain, style in triples]
        parts.append((keys, at, rows["dur_ns"]))
    found = grouped(parts)
    whole = _whole(found)
    return Rows(RangeSum(str(key[0]), str(key[1]), calls, ns.total / whole, ns) for key, calls, ns in found)


def range_name(trace: Trace, name: int, domain: int) -> str:
    """Return the name of a range with its domain, where it is not the default one."""
    of = "" if domain == NONE else trace.strings[domain]
    return f"{of}:{trace.strings[name]}" if of else trace.strings[name]


def memory_operations(trace: Trace) -> tuple[list[str], Ns]:
    """Name the sorts of memory operations, and return for each row of the gpu table which it is; `NONE` for kernels."""
    names = [*(f"memcpy {kind}" for kind in COPY_KINDS), "memcpy", "memset"]
    gpu = trace.gpu
    copies, memsets = gpu["kind"] == Kind.MEMCPY, gpu["kind"] == Kind.MEMSET
    direction = np.where(gpu["copy_kind"] == NONE, len(COPY_KINDS), gpu["copy_kind"])
    return names, np.where(copies, direction, np.where(memsets, len(names) - 1, NONE)).astype(np.int64)


def _memory(trace: Trace, column: str) -> tuple[list[Key], Ns, Ns]:
    names, which = memory_operations(trace)
    known = (which != NONE) & (trace.gpu[column] >= 0)
    return [(name,) for name in names], which[known], trace.gpu[column][known]


def _by_name(
    trace: Trace, table: Table, rows: npt.NDArray[Any], name_of: Callable[[str], str] = str
) -> tuple[list[Key], Ns, Ns]:
    codes, at = distinct(table["name"][rows])
    return [(name_of(trace.strings[code]),) for (code,) in codes], at, table["dur_ns"][rows]


def _sums(found: list[tuple[Key, int, Spread]]) -> Rows[Sum]:
    whole = _whole(found)
    return Rows(Sum(str(key[0]), calls, ns.total / whole, ns) for key, calls, ns in found)


def _whole(found: list[tuple[Key, int, Spread]]) -> int:
    return max(1, sum(spread.total for _, _, spread in found))
