"""The loader starves the GPU.

## What it means

The training loop asks for the next batch, the workers have none ready, and the GPU has nothing to do meanwhile.

## How it is measured

Idle time of the device whose cause is `dataloader`: the launching thread was waiting for a batch (stage `dataload`,
or torch's `enumerate(DataLoader)#…` range). On the CPU, where nothing idles, the host time of the stage `dataload`,
if the batch comes from worker processes. Reported from 3 % of the window on (CPU: 10 % of the steps).

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

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import (
    Evidence,
    Gain,
    advise,
    argument,
    gain_of,
    idle_ns,
    loads_in_process,
    more_workers,
    places_of_idle,
    places_of_stages,
    share,
    stage_ns,
    window_ns,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

IDLE_SHARE = 0.03
STAGE_SHARE = 0.10


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for idle time that waits for a batch from worker processes."""
    if loads_in_process(trace):
        return
    workers = argument(trace, "workers")
    advice = (
        advise("load with more worker processes", "workers", workers, more_workers(trace)),
        advise("keep decoded images", "cache", argument(trace, "cache"), "ram"),
    )
    for device in trace.devices:
        cost = idle_ns(trace, device.device, "dataloader")
        if cost >= IDLE_SHARE * device.window_ns:
            evidence = (
                Evidence("idle while waiting for a batch", share(cost, device.idle_ns), "share"),
                Evidence("steps", len(trace.steps), "steps"),
            )
            yield Saying(
                cost,
                evidence,
                advice,
                device.device,
                gain_of(trace, device.device, "dataloader"),
                places=places_of_idle(trace, device.device, "dataloader"),
            )
    if not trace.devices:
        cost = stage_ns(trace, "dataload")
        if cost >= STAGE_SHARE * window_ns(trace, None):
            waiting = (Evidence("waiting for a batch", cost / window_ns(trace, None), "share"),)
            yield Saying(
                cost,
                waiting,
                advice,
                gain=Gain(cost // 2, cost),
                confidence="medium",
                places=places_of_stages(trace, "dataload"),
            )
