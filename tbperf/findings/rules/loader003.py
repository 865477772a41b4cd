"""A transform is slow.

## What it means

The program waits for batches, and its loader spends most of its time in one transform of the images.

## How it is measured

The recorder times every transform, `load_image` and `collate` in the loader's processes. Reported as LOADER001, where
one transform by itself (without what it calls) takes at least 40 % of the loader's time.

## Why it costs

Every image passes through it. Caching images gives nothing then, and more workers help only while there are cores.

## What to change

- `mosaic`, `mixup`, `cutmix`, `copy_paste` lower or 0, where it is one of these.
- In a transform of your own: numpy or OpenCV on whole images instead of Python loops over pixels or boxes; smaller
  images first, then the expensive work.

## Known false alarms

A first call that loads something (a model, a table) counts in full: record later batches.

## Example

A blur written in Python: 81 % of the loader's time, 24 ms an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.finding import Evidence, advise, argument, gain_of, more_workers
from tbperf.findings.loading import dearest_transform, loader_fault, place_of_work, starved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.diagnose import Saying
    from tbperf.findings.finding import Value


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for time that waits for a batch while one transform takes most of the loader's time."""
    work = dearest_transform(trace)
    if work is None or loader_fault(trace) != "LOADER003":
        return
    for wait in starved(trace):
        gain = None if wait.device is None else gain_of(trace, wait.device, f"loader: {work.work}")
        evidence = (
            Evidence("waiting for a batch", wait.share, wait.unit),
            Evidence(f"{work.work}, of the loader's time", work.share, "share"),
            Evidence("a call of it", work.mean_ns, "ns"),
            Evidence("by image", work.per_image_ns or 0, "ns"),
        )
        advice = (
            advise(f"make the transform {work.work} faster, or use it less", *_argument(trace, work.work)),
            advise("load with more worker processes", "workers", argument(trace, "workers"), more_workers(trace)),
        )
        title = f"The transform {work.work} is slow"
        yield wait.saying(evidence, advice, title=title, part=work.share, work=gain, places=place_of_work(work))


_ARGUMENTS = {"Mosaic": "mosaic", "MixUp": "mixup", "CutMix": "cutmix", "CopyPaste": "copy_paste"}
"""Transforms of Ultralytics whose probability is an argument."""


def _argument(trace: TraceReport, transform: str) -> tuple[str | None, Value, Value]:
    name = _ARGUMENTS.get(transform)
    return (None, None, None) if name is None else (name, argument(trace, name), 0.0)
