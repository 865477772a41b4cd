"""Kernels are loaded or compiled inside the steps.

## What it means

Modules are loaded, or Triton and Inductor compile and tune, while steps are recorded.

## How it is measured

Idle time with cause `module_load`: calls that load modules, and Python functions of the compilers; from 2 % of the
window on.

## Why it costs

The step waits for the compiler. It happens once per shape; with changing shapes it goes on and on.

## What to change

- Record later: more warm-up (`--wait`).
- Batches and images of one size; `dynamic=True` for `torch.compile` where sizes must change.
- `CUDA_MODULE_LOADING=EAGER` moves loading to the start.

## Known false alarms

A window right after the start of a run.

## Example

The first step after a validation with another image size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, gain_of, idle_ns, places_of_idle
from tbperf.findings.thresholds import LOADING_CODE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for idle time while code is loaded or compiled."""
    for device in trace.devices:
        cost = idle_ns(trace, device.device, "module_load")
        if cost >= LOADING_CODE * device.window_ns:
            evidence = (Evidence("loading calls", sum(row.calls for row in trace.module_loads), "calls"),)
            advice = (advise("record later steps; if it stays, keep the shapes of batches the same", "--wait"),)
            yield Saying(
                cost,
                evidence,
                advice,
                device.device,
                gain_of(trace, device.device, "module_load"),
                places=places_of_idle(trace, device.device, "module_load"),
            )
