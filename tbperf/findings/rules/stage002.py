"""Saving or plotting takes much of the training.

## What it means

Checkpoints are written, or plots are drawn, again and again.

## How it is measured

The recorder's own account of time outside the steps (`run.json`): stages `save` and `plot` against the time of all
training steps, and the same stages inside steps; from 10 % on.

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
from tbperf.findings.finding import Evidence, Gain, advise, argument, not_worth_judging, stage_ns, window_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.10


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for time in saving and plotting."""
    window = window_ns(trace, None)
    inside = {stage: stage_ns(trace, stage) for stage in ("save", "plot")}
    judged = trace.run is not None and trace.phase == "train" and not not_worth_judging(trace)
    outside = trace.run.outside_ns if judged and trace.run is not None else {}
    training = trace.run.phase_ns("train") if trace.run is not None else 0
    for stage, name in (("save", "save"), ("plot", "plots")):
        beside = outside.get(stage, 0) / training if training else 0.0
        cost = inside[stage] + round(window * beside)
        if cost >= SHARE * window:
            evidence = (
                Evidence(f"{stage} beside the steps", beside, "share"),
                Evidence("in the steps", inside[stage], "ns"),
            )
            advice = (advise(f"{stage} less often", name, argument(trace, name), False),)
            title = "Saving takes much of the training" if stage == "save" else "Plotting takes much of the training"
            yield Saying(cost, evidence, advice, gain=Gain(cost // 2, cost), confidence="medium", title=title)
