"""Validation takes much of the training.

## What it means

After each epoch the model is validated; here that takes a large part of the run.

## How it is measured

The recorder's own account of time outside the steps (`run.json`): validation as a share of training and validation
together; from 20 % on, in runs of at least 3 epochs. The cost is what falls to the recorded steps, and its share is
that of the run. Inside a trace: idle time with cause `validation`, from 10 % of the window on.

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
from tbperf.findings.finding import (
    Evidence,
    Gain,
    advise,
    argument,
    beside_the_steps,
    gain_of,
    idle_ns,
    not_worth_judging,
    places_of_idle,
    share,
)
from tbperf.findings.thresholds import SAVING, VALIDATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.finding import Advice


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for validation that takes long: inside the recorded steps, or beside them over the whole run."""
    for device in trace.devices:
        inside = idle_ns(trace, device.device, "validation")
        if inside >= SAVING * device.window_ns:
            evidence = (Evidence("idle during validation", share(inside, device.window_ns), "share"),)
            gain = gain_of(trace, device.device, "validation")
            places = places_of_idle(trace, device.device, "validation")
            yield Saying(inside, evidence, _advice(trace), device.device, gain, places=places)
            return
    if trace.run is None or trace.phase != "train" or argument(trace, "val") is False or not_worth_judging(trace):
        return
    validating = trace.run.outside_ns.get("validate", 0) + trace.run.phase_ns("val")
    training = trace.run.phase_ns("train")
    if not training or validating < VALIDATION * (training + validating):
        return
    cost = beside_the_steps(trace, None, validating)
    of_run = (
        Evidence("validation in the run", validating, "ns"),
        Evidence("training steps in the run", training, "ns"),
    )
    yield Saying(cost, of_run, _advice(trace), gain=Gain(cost // 2, cost), confidence="medium", beside_ns=cost)


def _advice(trace: TraceReport) -> tuple[Advice, ...]:
    return (advise("validate less often", "val", argument(trace, "val"), False),)
