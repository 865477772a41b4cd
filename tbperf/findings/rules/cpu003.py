"""Other programs take the cores.

## What it means

The program waits for cores that it does not use itself: something else on the machine does.

## How it is measured

From the log of steps: the thread that runs the loop was ready and had no core, for at least 5 % of the recorded steps.
From the load of all cores, less the processor time of the process and its loader workers: at least 0.7 of a core was
used by others. And the program's own threads and busy workers are no more than the cores that it may use (else it is
CPU002).

## Why it costs

Steps take longer, and by another amount each time: figures of such a run are no measure of the program.

## What to change

- Stop what else runs, or lend this program cores of its own (`taskset`, the container's limits).
- Record again on a machine that does nothing else before comparing runs.

## Known false alarms

The recorder samples the hardware from a process of its own; that takes a hundredth of a core.

## Example

A browser and an indexer beside a training on a laptop: 1.6 of 4 cores, and the loop waits for a core 12 % of each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, share, window_ns
from tbperf.findings.processor import others_cores, wanted_cores
from tbperf.findings.thresholds import FREE_CORE, QUEUED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a loop that waits for cores which other programs keep busy."""
    cores, others, window = trace.cores, others_cores(trace), window_ns(trace, None)
    if trace.devices or cores is None or others is None or not cores.usable_cores:
        return
    cost, wanted = cores.main_queued_ns or 0, wanted_cores(trace)
    if cost < QUEUED * window or others < FREE_CORE or wanted is None or wanted > cores.usable_cores:
        return
    evidence = (
        Evidence("loop without a core", share(cost, window), "share"),
        Evidence("cores that other programs use", others, "cores"),
        Evidence("cores of this program", cores.used_cores or 0.0, "cores"),
    )
    advice = (advise("stop what else runs on the machine, or give this program cores of its own"),)
    yield Saying(cost, evidence, advice, gain=Gain(0, cost), confidence="medium")
