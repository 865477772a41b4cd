"""The recorded steps hold no optimizer step.

## What it means

Gradients are accumulated over several batches, and no update falls into the recorded window.

## How it is measured

Phase `train`, and no stage `optimizer` in the trace.

## Why it costs

The report is right for what it saw, and silent about the optimizer and the EMA.

## What to change

- More steps: `--active` at least `nbs / batch` (Ultralytics accumulates up to 64 images).

## Known false alarms

Training loops of your own that name no stages.

## Example

`batch=4`: an update every 16 batches, a window of 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for a training window without an update."""
    stages = {row.stage for row in trace.stages}
    if trace.phase == "train" and "backward" in stages and "optimizer" not in stages:
        batch = argument(trace, "batch")
        evidence = (Evidence("recorded steps", len(trace.steps), "steps"),)
        nominal = argument(trace, "nbs")
        images = nominal if isinstance(nominal, int) else _NOMINAL_BATCH
        to = max(len(trace.steps) + 1, round(images / batch)) if isinstance(batch, int) and batch > 0 else None
        advice = (advise("record more steps", "--active", len(trace.steps), to),)
        yield Saying(0, evidence, advice, severity="info")


_NOMINAL_BATCH = 64
"""Ultralytics' ``nbs``: images between two updates."""
