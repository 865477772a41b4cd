"""Saving or plotting takes much of the training.

## What it means

Checkpoints are written, or plots are drawn, again and again.

## How it is measured

The recorder's own account of time outside the steps (`run.json`): stages `save` and `plot`, as much as falls to the
recorded steps (in runs of at least 3 epochs), and the same stages inside steps: on a GPU the idle time with these
causes, on the CPU the time in them; from 10 % of steps and what is beside them on.

## Why it costs

A checkpoint holds model, EMA and optimizer: it is serialized by the training process while nothing else happens. A
plot takes seconds of matplotlib.

## What to change

- `save_period` larger, or `save=False` while experimenting.
- `plots=False`.

## Known false alarms

Short runs, in which the one checkpoint at the end weighs more than it will.

## Example

A callback that plots every batch: 70 % of each step in stage `plot`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import (
    Evidence,
    Gain,
    advise,
    argument,
    beside_the_steps,
    gain_of,
    idle_ns,
    not_worth_judging,
    places_of_stages,
    stage_ns,
    window_ns,
)
from tbperf.findings.thresholds import SAVING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for time in saving and plotting."""
    window = window_ns(trace, None)
    device = trace.devices[0] if trace.devices else None
    judged = trace.run is not None and trace.phase == "train" and not not_worth_judging(trace)
    outside = trace.run.outside_ns if judged and trace.run is not None else {}
    for stage, name, title in (("save", "save", "Saving"), ("plot", "plots", "Plotting")):
        inside = stage_ns(trace, stage) if device is None else idle_ns(trace, device.device, stage)
        whole = window if device is None else device.window_ns
        beside = beside_the_steps(trace, device.device if device else None, outside.get(stage, 0))
        cost = inside + beside
        if cost >= SAVING * (whole + beside):
            evidence = (
                Evidence(f"{stage} beside the steps of the run", outside.get(stage, 0), "ns"),
                Evidence("training steps in the run", trace.run.phase_ns("train") if trace.run else 0, "ns"),
                Evidence("in the recorded steps", inside, "ns"),
            )
            advice = (advise(f"{stage} less often", name, argument(trace, name), False),)
            inner = (gain_of(trace, device.device, stage) if device else None) or Gain(inside // 2, inside)
            yield Saying(
                cost,
                evidence,
                advice,
                device.device if device else None,
                Gain(inner.low_ns + beside // 2, inner.high_ns + beside),
                "medium",
                title=f"{title} takes much of the training",
                places=places_of_stages(trace, stage),
                beside_ns=beside,
            )
