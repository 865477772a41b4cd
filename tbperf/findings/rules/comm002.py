"""One rank keeps the others waiting.

## What it means

In a distributed training all ranks wait in each collective for the one that comes last. Here it is often the same.

## How it is measured

The ranks' traces are aligned by their collectives: the rank on which one runs shortest came last to it, and what it
runs longer on another is time that the other waited. Reported from 2 % of the time of all ranks on, for the rank that
is waited for most. If it waits for its batches longer than the others do, by half of what it costs, that is named.

## Why it costs

The others' GPUs count as busy meanwhile (a collective is running), and do nothing.

## What to change

- Look at that rank's own report: its loader, its host, its GPU's clocks (HW001).
- Where it waits for batches: fewer `workers` per rank if all share the same cores, images on a disk that all reach
  alike.
- Batches of equal work: `rect=False`, no images that are far larger than the others.

## Known false alarms

A window in which one rank began to record later. Collectives that differ between ranks cannot be aligned; then nothing
is said.

## Example

Eight V100: rank 7 came last to 5 of 8 collectives, and the other seven waited 5 ms of 13 for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise
from tbperf.findings.thresholds import BATCHES_DIFFER, STRAGGLER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.ranks import Rank


def find(_trace: TraceReport) -> Iterator[Saying]:
    """Say nothing of one rank by itself."""
    yield from ()


def find_late(trace: TraceReport, rank: Rank, ranks: Sequence[Rank]) -> Iterator[Saying]:
    """Look at the rank that the others wait for most."""
    beside = [other for other in ranks if other.phase == rank.phase]
    awaited = rank.awaited_ns or 0
    whole = sum(other.busy_ns + other.idle_ns for other in beside)
    if len(beside) < _TWO or awaited < STRAGGLER * whole or awaited < max(other.awaited_ns or 0 for other in beside):
        return
    each = awaited // (len(beside) - 1)
    usual = sorted(other.dataload_ns for other in beside)[len(beside) // 2]
    evidence = (
        Evidence("collectives to which it came last", rank.last_in or 0, "collectives"),
        Evidence("each of the others waited", each, "ns"),
        Evidence("its wait for batches beyond the usual", max(0, rank.dataload_ns - usual), "ns"),
    )
    batches = rank.dataload_ns - usual >= BATCHES_DIFFER * each
    action = "give this rank its batches as early as the others" if batches else "look at this rank's own report"
    device = trace.devices[0].device if trace.devices else None
    yield Saying(
        each,
        evidence,
        (advise(action),),
        device,
        Gain(0, each),
        "medium",
        title=f"Rank {rank.rank} keeps others waiting",
    )


_TWO = 2
