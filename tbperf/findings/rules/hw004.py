"""The processors are all busy.

## What it means

The program waits for batches, and there is no core left that could prepare them faster.

## How it is measured

The mean use of all cores while the steps ran, from 90 % on, where LOADER001–004 find the program waiting for batches.

## Why it costs

More workers only take turns on the same cores. In a container with few cores this is the usual limit.

## What to change

- Cheaper loading: `cache=ram`, lighter augmentation, smaller images on the disk.
- More cores for the process: its CPU affinity, the container's limit.
- Fewer threads beside the loader: `OMP_NUM_THREADS`.

## Known false alarms

Other programs on the same machine count, too. A run on the CPU uses all cores by itself: there nothing is said, unless
workers load beside it.

## Example

Eight workers on four cores: 98 % busy, and still 30 % of each step waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.finding import Evidence, advise, argument
from tbperf.findings.loading import starved
from tbperf.findings.thresholds import CPU_BUSY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.diagnose import Saying


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for processors that are all busy while the program waits for them."""
    series = next((row for row in trace.hardware if row.series == "cpu_percent"), None)
    if series is None or series.mean < CPU_BUSY or trace.loading is None or not trace.loading.workers:
        return
    cores = sum(row.series == "core_percent" for row in trace.hardware)
    for wait in starved(trace):
        evidence = (Evidence("all cores busy", series.mean, "%"), Evidence("cores", cores, "cores"))
        advice = (
            advise("make loading cheaper: more workers cannot help"),
            advise("keep decoded images", "cache", argument(trace, "cache"), "ram"),
        )
        yield wait.saying(evidence, advice, confidence="medium", part=0.5)
