"""torch leaves cores idle.

## What it means

The run computes on the CPU, operators take most of each step, and torch splits them over fewer threads than the process
has cores, while the others do nothing.

## How it is measured

Only without a GPU in the trace. From `run.json`: the threads that torch computed with (`torch.get_num_threads()`) are
at most 0.7 of the cores that the process may use (its affinity, and its container's quota). From the steps:
convolutions, matrix products, normalization, activations, pooling and upsampling take at least half of them. From the
load of the cores while the steps ran: at least 0.7 of a core was free.

## Why it costs

An operator that could be split over two cores takes up to twice as long on one.

## What to change

- Ultralytics sets the number itself when it chooses the CPU: one less than the machine's cores, at most 8, whatever
  `OMP_NUM_THREADS` says. Set it behind that: `torch.set_num_threads(N)` in a callback `on_train_start`
  (`on_predict_start`, `on_val_start`).
- In other programs `OMP_NUM_THREADS=N`.

## Known false alarms

Two hardware threads of one core count as two cores, and compute little more than one. Small images and small batches
give threads little to share: of single images the confidence is low. So the gain is an upper limit: all parallel work,
split evenly.

## Example

YOLOv8n on a machine with two cores, where Ultralytics sets one thread: 8 images of 160 forward and backward took
613 ms, and 421 ms with two threads; a single image forward took 41.9 ms, and 38.6 ms (best of 22, taken in turns).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, Place, advise, share, window_ns
from tbperf.findings.processor import free_cores, parallel_work
from tbperf.findings.thresholds import COMPUTING, FEW_THREADS, FREE_CORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for computing operators that leave cores idle."""
    cores, free = trace.cores, free_cores(trace)
    if trace.devices or cores is None or not cores.intra_op_threads or not cores.usable_cores or free is None:
        return
    threads, usable = cores.intra_op_threads, math.floor(cores.usable_cores)
    work = parallel_work(trace)
    cost = sum(row.host_ns for row in work)
    window = window_ns(trace, None)
    more = min(usable, threads + round(free))
    if threads > FEW_THREADS * usable or free < FREE_CORE or more <= threads or cost < COMPUTING * window:
        return
    evidence = (
        Evidence("threads of torch", threads, "threads"),
        Evidence("cores it may use", usable, "cores"),
        Evidence("cores free while the steps ran", free, "cores"),
        Evidence("steps in operators that can be split", share(cost, window), "share"),
    )
    where = f", in a callback on_{trace.phase}_start" if trace.phase else ""
    advice = advise(f"compute with more threads{where}", "torch.set_num_threads", threads, more)
    sure = "low" if trace.speed is not None and trace.speed.batch <= 1 else "medium"
    places = tuple(Place(row.longest_start_ns, row.longest_ns, row.work) for row in work[:3])
    yield Saying(
        cost, evidence, (advice,), gain=Gain(0, round(cost * (1 - threads / more))), confidence=sure, places=places
    )
