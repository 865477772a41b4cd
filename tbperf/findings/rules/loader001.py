"""The loader starves the GPU.

## What it means

The training loop asks for the next batch, the workers have none ready, and the GPU has nothing to do meanwhile.

## How it is measured

Idle time of the device whose cause is `dataloader`: the launching thread was waiting for a batch (stage `dataload`,
or torch's `enumerate(DataLoader)#…` range). On the CPU, where nothing idles, the host time of the stage `dataload`,
if the batch comes from worker processes. Reported from 3 % of the window on (CPU: 10 % of the steps), unless
LOADER002, LOADER003 or LOADER004 tell more.

## Why it costs

A step cannot begin before its batch is there. The device idles for the whole wait but for what was queued before.

## What to change

- `workers`: more of them, up to the cores that the process may use (`workers=8`); below that they wait for each
  other.
- `cache=ram` or `cache=disk`: decoded images instead of JPEGs, where reading and decoding dominate.
- Lighter augmentation (`mosaic`, `mixup`, `copy_paste`), where transforms dominate: caching gives nothing then.
- Smaller images on disk: what is larger than `imgsz` is decoded only to be shrunk.

## Known false alarms

The first batches after the start of an epoch wait for workers to start: a window of two or three steps there says
little. More workers than cores can be slower.

## Example

`The GPU waits for data 28 % of the time: 47 ms of each 166 ms` on a V100 with the images loaded by four workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.finding import Evidence, advise, argument, more_workers
from tbperf.findings.loading import loader_fault, starved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.diagnose import Saying


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for time that waits for a batch, and nothing that tells why the batch is late."""
    if loader_fault(trace) != "LOADER001":
        return
    advice = (
        advise("load with more worker processes", "workers", argument(trace, "workers"), more_workers(trace)),
        advise("keep decoded images", "cache", argument(trace, "cache"), "ram"),
    )
    for wait in starved(trace):
        evidence = (
            Evidence("waiting for a batch", wait.share, wait.unit),
            Evidence("steps", len(trace.steps), "steps"),
        )
        yield wait.saying(evidence, advice)
