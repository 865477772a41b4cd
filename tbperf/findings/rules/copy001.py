"""Copies from pageable memory hold up the host.

## What it means

A copy between the GPU and ordinary (pageable) host memory goes through a buffer of the driver: it is slower, it
cannot run beside kernels, and the call returns late even if it is asked to be asynchronous.

## How it is measured

Copies whose host side is pageable. The run is replayed with their calls returning at once and the copies themselves
twice as fast (the lower figure) or hidden behind kernels (the higher one, and the cost). Reported from 2 % of the
window on; reads of single values are left to COPY003.

## Why it costs

The device waits for the copy, and the host waits in the call instead of launching the next work.

## What to change

- `pin_memory=True` in a loader of your own, and `tensor.to(device, non_blocking=True)`. Ultralytics' loaders pin by
  themselves; set `PIN_MEMORY=true` if the environment turned it off.

## Known false alarms

A single large copy at the start of a window (moving the model).

## Example

`owlv2` on an H100: 55 pageable DtoH copies, 12.9 ms of them exposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, exposed_ns, gain_of, idle_ns, places_of_idle
from tbperf.findings.thresholds import PAGEABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for copies with pageable host memory that cost the device time."""
    for device in trace.devices:
        rows = [r for r in trace.memcpy if r.device == device.device and r.host_memory == "pageable"]
        exposed = exposed_ns(trace, device.device, rows)
        gain = gain_of(trace, device.device, "pageable")
        cost = gain.high_ns if gain else exposed + idle_ns(trace, device.device, "memcpy")
        if not rows or cost < PAGEABLE * device.window_ns or _are_reads(trace, device.device):
            continue
        evidence = (
            Evidence("pageable copies", sum(row.calls for row in rows), "calls"),
            Evidence("moved", sum(row.bytes or 0 for row in rows), "B"),
            Evidence("exposed", exposed, "ns"),
            Evidence("host time in the calls", sum(row.host_blocked_ns or 0 for row in rows), "ns"),
        )
        advice = (advise("copy from pinned memory, without blocking", "pin_memory", False, True),)
        places = places_of_idle(trace, device.device, "memcpy")
        yield Saying(cost, evidence, advice, device.device, gain, "medium", places=places)


def _are_reads(trace: TraceReport, device: int) -> bool:
    """Tell whether nearly all of them are reads of single values, which COPY003 tells of."""
    rows = [row for row in trace.memcpy if row.device == device and row.host_memory == "pageable"]
    tiny = sum(row.tiny_calls for row in rows if row.copy_kind == "DtoH")
    return tiny >= _NEARLY_ALL * sum(row.calls for row in rows)


_NEARLY_ALL = 0.9
