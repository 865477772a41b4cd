"""Where did the time of each device go?

Every nanosecond between the first start and the last end on a device gets exactly one owner, in this order: compute,
then collectives that no compute hides, then copies, then memsets, then idle.  The five sum to the window exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tbperf.analyses.rows import Rows
from tbperf.intervals import Spans, Tiling
from tbperf.trace import Kind
from tbperf.trace.names import COLLECTIVE

if TYPE_CHECKING:
    from tbperf.trace import Trace

_OWNERS = 4


@dataclass(frozen=True)
class DeviceTime:
    """The time of one device, split among its owners; all in nanoseconds."""

    device: int
    window_ns: int
    busy_ns: int
    idle_ns: int
    compute_ns: int
    exposed_comm_ns: int
    exposed_memcpy_ns: int
    exposed_memset_ns: int
    kernel_ns: int
    """Durations of all kernels, summed; more than their union where streams overlap."""
    kernels: int
    memcpys: int
    memsets: int
    gaps: int
    """Idle spans longer than zero."""
    graphs: int = 0
    """Replays of graphs that the recorder timed as a whole; they count as compute."""


def account(trace: Trace) -> Rows[DeviceTime]:
    """Split the window of every device among its owners."""
    return Rows(_device_time(trace, device) for device in trace.devices)


def owners(trace: Trace, device: int) -> Tiling:
    """Tile the busy time of a device: 0 compute, 1 exposed collectives, 2 exposed copies, 3 exposed memsets."""
    here = trace.gpu["device"] == device
    kind = trace.gpu["kind"]
    collective = trace.kernels & trace.named(trace.gpu, COLLECTIVE.match)
    layers = (
        here & trace.computes & ~collective,
        here & collective,
        here & (kind == Kind.MEMCPY),
        here & (kind == Kind.MEMSET),
    )
    return Tiling.first_of((label, trace.gpu_spans(rows)) for label, rows in enumerate(layers))


def _device_time(trace: Trace, device: int) -> DeviceTime:
    here = trace.gpu["device"] == device
    kind = trace.gpu["kind"][here]
    start, end = trace.windows[device]
    busy: Spans = trace.busy[device]
    shares = owners(trace, device).total_ns_by_label(_OWNERS).tolist()
    return DeviceTime(
        device=device,
        window_ns=end - start,
        busy_ns=busy.total_ns,
        idle_ns=busy.gaps(start, end).total_ns,
        compute_ns=shares[0],
        exposed_comm_ns=shares[1],
        exposed_memcpy_ns=shares[2],
        exposed_memset_ns=shares[3],
        kernel_ns=int(trace.gpu["dur_ns"][here & trace.kernels].sum()),
        kernels=int((kind == Kind.KERNEL).sum()),
        memcpys=int((kind == Kind.MEMCPY).sum()),
        memsets=int((kind == Kind.MEMSET).sum()),
        gaps=len(busy.gaps(start, end)),
        graphs=int((kind == Kind.GRAPH).sum()),
    )
