"""Python code holds up a stage.

## What it means

A stage spends most of its time in Python and outside of the framework's operators: a loop over elements, a list
comprehension over boxes, numpy, file access.

## How it is measured

Time of a computing stage (preprocess, forward, loss, postprocess, callbacks, log, metrics …) in which the main
thread is in no operator, where that is more than half of the stage and at least 15 % of the steps; with a GPU,
where the device idles meanwhile, from 8 % on.

A trace without operators (Nsight Systems without `emit_nvtx`) does not tell Python from operators. There only
stretches of at least 0.5 ms in which the thread is in no call of CUDA or of the operating system count, the cost is
what the replay saves without them, the finding speaks of host code, and its confidence is low; without a GPU nothing
is said.

## Why it costs

Python handles one element at a time. On a GPU run the device waits for it; on a CPU run the cores do.

## What to change

- Replace the loop by tensor operations; record with `--stacks` to see the line.
- Move bookkeeping out of the step, or do it every N steps.

## Known false alarms

Time in libraries that are no operators (OpenCV, numpy) counts as Python. The backward pass is left out: what it does
outside of operators is autograd's own work, or waiting for other ranks.

## Example

A loss that walks over its targets in Python: 35 % of each step in `loss`, a tenth of that in operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, gain_of, places_of_stages, share, window_ns
from tbperf.findings.thresholds import PYTHON, PYTHON_CPU, PYTHON_PART

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

WAITING_STAGES = {
    None,
    "backward",
    "dataload",
    "fetch",
    "consumer",
    "write",
    "save",
    "plot",
    "validate",
    "final_eval",
    "setup",
    "warmup",
    "loop",
    "nms",
}


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for computing stages that are mostly Python."""
    device = trace.devices[0].device if len(trace.devices) == 1 else None
    window = window_ns(trace, device)
    if not trace.operators:
        yield from _without_operators(trace, device)
        return
    for stage in trace.stages:
        outside = stage.host_ns - stage.op_ns
        cost = outside if stage.idle_ns is None else min(outside, stage.idle_ns)
        least = PYTHON_CPU if stage.idle_ns is None else PYTHON
        if stage.stage in WAITING_STAGES or cost < least * window or outside < PYTHON_PART * stage.host_ns:
            continue
        evidence = (
            Evidence(f"share of the steps in {stage.stage}", stage.share, "share"),
            Evidence("part of it in no operator", share(outside, stage.host_ns), "share"),
        )
        gain = Gain(cost // 2, cost) if device is None else gain_of(trace, device, f"python: {stage.stage}")
        line = next((gap.line for gap in trace.gaps if gap.line and gap.stage == stage.stage), None)
        where = f": {line}" if line else "; record with --stacks to see the line"
        yield Saying(
            cost,
            evidence,
            (advise(f"look for a Python loop in the stage {stage.stage}{where}"),),
            device,
            gain,
            "medium",
            places=places_of_stages(trace, stage.stage),
            title=f"Python code holds up the stage {stage.stage}",
        )


def _without_operators(trace: TraceReport, device: int | None) -> Iterator[Saying]:
    """Look for stages in which the device waits for long stretches of the host without any call."""
    if device is None:
        return
    for stage in trace.stages:
        gain = gain_of(trace, device, f"python: {stage.stage}")
        if stage.stage in WAITING_STAGES or gain is None or gain.high_ns < PYTHON * window_ns(trace, device):
            continue
        if gain.high_ns < PYTHON_PART * stage.host_ns:
            continue
        evidence = (
            Evidence(f"share of the steps in {stage.stage}", stage.share, "share"),
            Evidence("saved without its stretches in no call of CUDA or the system", gain.high_ns, "ns"),
        )
        action = f"look at the host code of the stage {stage.stage}; record operators (emit_nvtx) to see what it is"
        yield Saying(
            gain.high_ns,
            evidence,
            (advise(action),),
            device,
            gain,
            "low",
            places=places_of_stages(trace, stage.stage),
            title=f"Host code holds up the stage {stage.stage}",
        )
