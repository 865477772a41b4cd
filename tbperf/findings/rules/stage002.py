"""Saving or plotting takes much of the training.

## What it means

Checkpoints are written, or plots are drawn, again and again.

## How it is measured

The recorder's own account of time outside the steps (`run.json`): stages `save` and `plot` against the time of all
training steps (in runs of at least 3 epochs), and the same stages inside steps: on a GPU the idle time with these
causes, on the CPU the time in them; from 10 % on.

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
    training = trace.run.phase_ns("train") if trace.run is not None else 0
    for stage, name, title in (("save", "save", "Saving"), ("plot", "plots", "Plotting")):
        inside = stage_ns(trace, stage) if device is None else idle_ns(trace, device.device, stage)
        whole = window if device is None else device.window_ns
        beside = outside.get(stage, 0) / training if training else 0.0
        cost = inside + round(whole * beside)
        if cost >= SAVING * whole:
            evidence = (Evidence(f"{stage} beside the steps", beside, "share"), Evidence("in the steps", inside, "ns"))
            advice = (advise(f"{stage} less often", name, argument(trace, name), False),)
            gain = gain_of(trace, device.device, stage) if device and not beside else None
            yield Saying(
                cost,
                evidence,
                advice,
                device.device if device else None,
                gain or Gain(cost // 2, cost),
                "medium",
                title=f"{title} takes much of the training",
                places=places_of_stages(trace, stage),
            )
