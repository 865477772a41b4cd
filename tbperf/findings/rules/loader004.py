"""Reading images is slow.

## What it means

The program waits for batches, and its loader spends most of its time in reading and decoding images.

## How it is measured

As LOADER003, where `load_image` takes at least 55 % of the loader's time.

## Why it costs

Each image is read from the disk or the network and decoded, in every epoch again. Waiting for a slow disk takes no
CPU, so that the machine looks idle meanwhile.

## What to change

- `cache=ram` where the images fit into memory, `cache=disk` where decoding takes long.
- Images on a local disk instead of a network share; smaller ones: what is larger than `imgsz` is decoded only to be
  shrunk.
- More `workers` where the disk is slow to answer, not slow to deliver.

## Known false alarms

The first epoch, in which the system's cache is empty.

## Example

Images on a network share that answers in 20 ms: 90 % of the loader's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.finding import Evidence, advise, argument, gain_of, more_workers
from tbperf.findings.loading import loader_fault, place_of_work, starved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.diagnose import Saying


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for time that waits for a batch while reading images takes most of the loader's time."""
    if loader_fault(trace) != "LOADER004":
        return
    work = next(row for row in trace.loader_work if row.work == "load_image")
    for wait in starved(trace):
        gain = None if wait.device is None else gain_of(trace, wait.device, f"loader: {work.work}")
        evidence = (
            Evidence("waiting for a batch", wait.share, wait.unit),
            Evidence("reading and decoding, of the loader's time", work.share, "share"),
            Evidence("an image", work.mean_ns, "ns"),
        )
        advice = (
            advise("keep decoded images", "cache", argument(trace, "cache"), "ram"),
            advise("load with more worker processes", "workers", argument(trace, "workers"), more_workers(trace)),
        )
        yield wait.saying(evidence, advice, part=work.share, work=gain, places=place_of_work(work))
