"""Validation takes much of the training.

## What it means

After each epoch the model is validated; here that takes a large part of the run.

## How it is measured

The recorder's own account of time outside the steps (`run.json`): validation against the time of all training
steps; from 20 % on. Inside a trace: idle time with cause `validation`.

## Why it costs

Validation runs all images of the validation set through the model, with NMS, in every epoch.

## What to change

- `val=False` for most epochs, or a smaller validation set (`fraction` does not apply to it).
- `plots=False`; a higher `conf` and a lower `max_det` in validation shorten its NMS.

## Known false alarms

Short runs: with one epoch the final evaluation counts in full.

## Example

Three epochs of 16 batches, each followed by a validation of the same length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, argument, not_worth_judging, window_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.20


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for validation that takes long beside the training steps."""
    if trace.run is None or trace.phase != "train" or not argument(trace, "val") or not_worth_judging(trace):
        return
    validating = trace.run.outside_ns.get("validate", 0) + trace.run.phase_ns("val")
    training = trace.run.phase_ns("train")
    if not training or validating < SHARE * training:
        return
    # The cost is told for the window, as every cost: the part of it that validation adds.
    cost = round(window_ns(trace, None) * validating / training)
    evidence = (
        Evidence("validation in the run", validating, "ns"),
        Evidence("training steps in the run", training, "ns"),
    )
    advice = (advise("validate less often", "val", argument(trace, "val"), False),)
    yield Saying(cost, evidence, advice, gain=Gain(cost // 2, cost), confidence="medium")
