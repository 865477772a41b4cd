"""The host cannot launch kernels fast enough.

## What it means

The GPU finishes each kernel before the next one is launched: Python, the framework and the launch calls take longer
than the work itself.

## How it is measured

Idle time with the causes `launch`, `host_op` and `python`, where at least 30 % of the kernels begin as soon as they
are launched on an idle device. The gain is that of the replay with this host time removed, but for stretches of
0.5 ms and more (an operator that computes on the host, a Python loop), and the cost is no more than that. Reported
from 10 % of the window on. Where removing waits for the GPU would save more than half of it, waits are what empties
the queue (SYNC001, COPY003): then only what they leave of it counts. Nor do stretches of Python count that HOST001
tells of.

## Why it costs

Each operator costs 5–50 µs on the host, whatever its size. Small batches and small models give the GPU less than
that to do.

## What to change

- A larger `batch`: the host's cost stays, the GPU's work grows.
- `compile=True` (fewer, larger kernels) or CUDA graphs.
- Newer Ultralytics: fused optimizer and EMA kernels.
- Fewer hooks and callbacks inside the step; recording with `--stacks` shows which Python it is.

## Known false alarms

A recording with stacks or shapes slows the host by 10–20 % itself (PROFILE001).

## Example

An A100 with a small ResNet in DDP: 75 % idle, four fifths of it in host operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument, gain_of, idle_ns, places_of_idle
from tbperf.findings.rules import host001
from tbperf.findings.thresholds import LAUNCH_BOUND, STARVED_KERNELS, WAITS_EMPTY_IT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a device that waits for its host."""
    if trace.launches is None:
        return
    kernels = sum(device.kernels for device in trace.devices)
    starved_kernels = trace.launches.starved_kernels / max(1, kernels)
    if starved_kernels < STARVED_KERNELS:
        return
    for device in trace.devices:
        cost = idle_ns(trace, device.device, "launch", "host_op", "python")
        cost -= sum(saying.cost_ns for saying in host001.find(trace))
        waits = gain_of(trace, device.device, "synchronizing")
        if waits is not None and waits.high_ns > WAITS_EMPTY_IT * cost:
            cost -= waits.high_ns
        gain = gain_of(trace, device.device, "host")
        if gain is not None:
            cost = min(cost, gain.high_ns)
        if cost < LAUNCH_BOUND * device.window_ns:
            continue
        batch = argument(trace, "batch")
        evidence = (
            Evidence("kernels that began as soon as they were launched", starved_kernels, "share"),
            Evidence("mean kernel", device.kernel_ns / max(1, device.kernels), "ns"),
            Evidence("mean queue depth", trace.launches.mean_queue_depth or 0.0, "kernels"),
        )
        advice = (
            advise("launch fewer, larger kernels", "compile", argument(trace, "compile"), True),
            advise("give the GPU more to do a step", "batch", batch, 2 * batch if isinstance(batch, int) else None),
        )
        places = places_of_idle(trace, device.device, "launch", "host_op", "python")
        yield Saying(cost, evidence, advice, device.device, gain, places=places)
