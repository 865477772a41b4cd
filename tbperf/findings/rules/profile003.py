"""Recorded without mosaic.

## What it means

Ultralytics switches mosaic augmentation off for the last `close_mosaic` epochs. A run of no more epochs than that
never uses it.

## How it is measured

`epochs` is not larger than `close_mosaic` in the recorded arguments.

## Why it costs

Mosaic loads four images for one: the real training waits for its loader more than this recording shows.

## What to change

- `close_mosaic=0` in a recording, to see what the long run will do.

## Known false alarms

Trainings that use no mosaic anyway (`mosaic=0`).

## Example

`epochs=3` with the default `close_mosaic=10`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Compare the length of the run with the epochs that go without mosaic."""
    epochs, close, mosaic = (argument(trace, name) for name in ("epochs", "close_mosaic", "mosaic"))
    if trace.phase != "train" or not isinstance(epochs, int) or not isinstance(close, int) or not mosaic:
        return
    if 0 < epochs <= close:
        evidence = (Evidence("epochs", epochs, "epochs"), Evidence("without mosaic", close, "epochs"))
        yield Saying(0, evidence, (advise("record with mosaic", "close_mosaic", close, 0),), severity="info")
