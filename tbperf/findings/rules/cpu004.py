"""The machine has a GPU, and the run computes on the CPU.

## What it means

There is an NVIDIA GPU in the machine, and torch computed on the CPU.

## How it is measured

From `run.json`: the driver (NVML) names a GPU, and the device of the process is `cpu`. The trace holds neither GPU
activity nor calls of its runtime, and operators that a GPU takes over use at least half of the steps.

## Why it costs

A GPU does convolutions ten to a hundred times as fast as a few cores.

## What to change

- A PyTorch that is built for the CPU only (`torch.version.cuda` is `None`): install one with CUDA.
- `device=cpu` in the command: `device=0`.
- Else `CUDA_VISIBLE_DEVICES` hides it, or the driver is too old for this PyTorch: `tbperf doctor` says which.

## Known false alarms

A run that means to measure the CPU, or whose GPU is busy with something else. How much faster it would be is not in the
trace, so no gain is given.

## Example

`pip install torch` brought a build for the CPU onto a machine with an RTX 4090.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Place, advise, argument, share, window_ns
from tbperf.findings.processor import parallel_work, unused_gpu
from tbperf.findings.thresholds import COMPUTING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a GPU that torch did not use."""
    window, work = window_ns(trace, None), parallel_work(trace)
    cost = sum(row.host_ns for row in work)
    if unused_gpu(trace) is None or trace.run is None or cost < COMPUTING * window:
        return
    if argument(trace, "device") == "cpu":
        advice = advise("compute on the GPU", "device", "cpu", 0)
    elif trace.run.versions.get("torch") and trace.run.versions.get("cuda") is None:
        advice = advise("install a PyTorch that is built for CUDA: this one is for the CPU only")
    else:
        advice = advise("look why torch does not see the GPU: `tbperf doctor`, CUDA_VISIBLE_DEVICES, the driver")
    evidence = (
        Evidence("GPUs that the driver names", len(trace.run.hardware["gpus"]), "GPUs"),
        Evidence("steps in operators that a GPU takes over", share(cost, window), "share"),
    )
    places = tuple(Place(row.longest_start_ns, row.longest_ns, row.work) for row in work[:3])
    yield Saying(cost, evidence, (advice,), confidence="medium", places=places)
