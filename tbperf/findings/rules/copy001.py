"""Copies from pageable memory hold up the host.

## What it means

A copy between the GPU and ordinary (pageable) host memory goes through a buffer of the driver: it is slower, it
cannot run beside kernels, and the call returns late even if it is asked to be asynchronous.

## How it is measured

Copies whose host side is pageable: the time of theirs that no kernel hides, and idle time with cause `memcpy`.
Reported from 2 % of the window on.

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
from tbperf.findings.finding import Evidence, Gain, advise, idle_ns, places_of_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.02


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for exposed copies with pageable host memory."""
    for device in trace.devices:
        rows = [r for r in trace.memcpy if r.device == device.device and r.host_memory == "pageable"]
        exposed = sum(row.exposed_ns for row in rows)
        cost = exposed + idle_ns(trace, device.device, "memcpy")
        if not rows or cost < SHARE * device.window_ns:
            continue
        evidence = (
            Evidence("pageable copies", sum(row.calls for row in rows), "calls"),
            Evidence("moved", sum(row.bytes or 0 for row in rows), "B"),
            Evidence("exposed", exposed, "ns"),
            Evidence("host time in the calls", sum(row.host_blocked_ns or 0 for row in rows), "ns"),
        )
        advice = (advise("copy from pinned memory, without blocking", "pin_memory", False, True),)
        yield Saying(
            cost,
            evidence,
            advice,
            device.device,
            Gain(cost // 2, cost),
            "medium",
            places=places_of_idle(trace, device.device, "memcpy"),
        )
