"""Copies that no kernel hides.

## What it means

The GPU moves data while its compute units have nothing to do, although the memory is pinned and the copy could run
beside kernels.

## How it is measured

Time of pinned or device-to-device copies in which no kernel runs, from 5 % of the window on. The gain is that of the
replay with these copies taking half their time, and none. Another replay puts the pinned uploads on a stream of their
own, where what follows waits for them: what that saves is told where it can be known (uploads need no result of the
device; with CUDA graphs, which read them at a fixed place, nothing is said), and decides what is advised.

## Why it costs

Copy engines and compute units work side by side only if the copy is on a stream of its own and does not wait for
what it is needed by.

## What to change

- Prefetch the next batch on a side stream while the current one is computed.
- Copy `uint8` images and convert them on the GPU: a quarter of the bytes of `float32`.
- Fewer, larger copies.

## Known false alarms

Device-to-device copies are often part of the model (concatenations); see KERNEL005.

## Example

97 % of the window of two H100 in pinned HtoD copies: weights streamed from the host in every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, exposed_ns, gain_of, places_of_copies
from tbperf.findings.thresholds import EXPOSED, WORTH_TRYING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for exposed copies of pinned or device memory."""
    for device in trace.devices:
        rows = [r for r in trace.memcpy if r.device == device.device and r.host_memory not in ("pageable", "managed")]
        cost = exposed_ns(trace, device.device, rows)
        if not rows or cost < EXPOSED * device.window_ns:
            continue
        gain = gain_of(trace, device.device, "exposed copies")
        if gain is not None and gain.high_ns < WORTH_TRYING * device.window_ns:
            continue
        top = rows[0]
        evidence = [
            Evidence("copies", sum(row.calls for row in rows), "calls"),
            Evidence("moved", sum(row.bytes or 0 for row in rows), "B"),
            Evidence("speed of the dearest sort", top.bytes_per_s or 0.0, "B/s"),
            Evidence("sizes copied again and again", sum(row.repeated_sizes for row in rows), "sizes"),
        ]
        beside = gain_of(trace, device.device, "copies beside kernels")
        what = " ".join(filter(None, (top.copy_kind, top.host_memory)))
        overlap = advise(f"overlap the copies ({what} most of all) with compute on a stream of their own")
        less = advise(f"copy less ({what} most of all): uint8 images, converted on the GPU; what is there already")
        if beside:
            evidence.append(Evidence("saved if uploads ran on a stream of their own", beside.high_ns, "ns"))
        useless = beside is not None and beside.high_ns < WORTH_TRYING * device.window_ns
        advice = (less,) if useless else (overlap, less)
        yield Saying(
            cost,
            evidence,
            advice,
            device.device,
            gain,
            "medium",
            places=places_of_copies(trace, device.device, lambda copy: copy.host_memory != "pageable"),
        )
