"""The training process loads its own images.

## What it means

With `workers=0` the batch is read, decoded and augmented in the training process itself, between two steps. Nothing
else happens meanwhile.

## How it is measured

As LOADER001, where the recorded command says `workers=0`, or torch's annotation names the single-process iterator,
or operators run inside the stage `dataload`.

## Why it costs

Loading and computing take turns instead of running side by side. The GPU idles for the whole time of loading.

## What to change

- `workers=8`, or as many as the process has cores: then batches are prepared while the GPU works.
- On the CPU Ultralytics sets `workers=0` itself: there lighter augmentation and `cache=ram` are what helps.

## Known false alarms

A dataset of a single batch, and debugging: `workers=0` is right there.

## Example

`resnet50` on a V100 with the images loaded in the training process: 283.7 ms of a window of 996.5 ms.
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
    """Look for time in which the training process loads a batch itself."""
    if not loads_in_process(trace):
        return
    for device in trace.devices:
        cost = idle_ns(trace, device.device, "dataloader")
        if cost >= IDLE_SHARE * device.window_ns:
            yield Saying(
                cost,
                (Evidence("idle while loading", share(cost, device.idle_ns), "share"),),
                (advise("load in worker processes", "workers", 0, more_workers(trace)),),
                device.device,
                gain_of(trace, device.device, "dataloader"),
                places=places_of_idle(trace, device.device, "dataloader"),
            )
    cost = stage_ns(trace, "dataload", "fetch")
    if not trace.devices and cost >= STAGE_SHARE * window_ns(trace, None):
        yield Saying(
            cost,
            (Evidence("loading", cost / window_ns(trace, None), "share"),),
            (
                advise("keep decoded images", "cache", argument(trace, "cache"), "ram"),
                advise("lighten the augmentation", "mosaic", argument(trace, "mosaic"), 0.0),
            ),
            gain=Gain(0, cost),
            confidence="medium",
            places=places_of_stages(trace, "dataload"),
        )
