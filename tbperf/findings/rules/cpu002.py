"""More threads than cores.

## What it means

torch's threads and the loader's workers are more than the cores that the process may use, and they wait for each other.

## How it is measured

From `run.json`: the threads that torch computes with, and beside them the loader's workers as far as they were at work,
against the cores that the process may use (its affinity, and its container's quota). From the log of steps: the time in
which the thread that runs the loop was ready to run and had no core, from 5 % of the recorded steps on (Linux tells it
in `/proc`). Where it does not tell, nothing is said.

## Why it costs

An operator is done when its slowest part is. A part whose thread waits for a core holds up the others, and switching
between threads costs time, too.

## What to change

- More threads than cores: `torch.set_num_threads(cores)`. Ultralytics goes by the machine's cores, not by what a
  container or `taskset` leaves of them.
- Workers beside computing on the CPU: fewer `workers`.

## Known false alarms

A single slow step in a short window. Other programs that use cores at the same time have a part in it, too: then the
confidence is low. CPU003 tells of them where the program's own threads are not too many.

## Example

Eight threads of torch in a container with two cores: the loop waits for a core 40 % of each step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, argument, share, window_ns
from tbperf.findings.processor import others_cores, wanted_cores
from tbperf.findings.thresholds import FREE_CORE, QUEUED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a loop that waits for cores which the program itself keeps busy."""
    cores, window = trace.cores, window_ns(trace, None)
    if trace.devices or cores is None or not cores.usable_cores or not cores.intra_op_threads:
        return
    usable, wanted = max(1, math.floor(cores.usable_cores)), wanted_cores(trace)
    cost = cores.main_queued_ns or 0
    if wanted is None or wanted <= cores.usable_cores or cost < QUEUED * window:
        return
    workers = trace.loading.workers if trace.loading else 0
    others = others_cores(trace) or 0.0
    evidence = (
        Evidence("loop without a core", share(cost, window), "share"),
        Evidence("threads of torch", cores.intra_op_threads, "threads"),
        Evidence("loader workers at work", cores.loader_cores, "workers"),
        Evidence("cores it may use", usable, "cores"),
        Evidence("cores that other programs use", others, "cores"),
    )
    fewer = advise("compute with no more threads than cores", "torch.set_num_threads", cores.intra_op_threads, usable)
    lighter = advise(
        "load with fewer workers beside the computation",
        "workers",
        argument(trace, "workers") or workers,
        max(1, usable - cores.intra_op_threads),
    )
    advice = [fewer] if cores.intra_op_threads > usable else [lighter]
    yield Saying(cost, evidence, advice, gain=Gain(0, cost), confidence="low" if others >= FREE_CORE else "medium")
