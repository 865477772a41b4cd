"""The progress bar synchronizes every step.

## What it means

The progress bar prints the loss of each step. To print a number the host must wait until the GPU has computed it.

## How it is measured

Synchronizing calls in the stage `log` (what follows the optimizer in a step), at least one a step; the cost is what
the replay saves if these calls do not wait, reported from 3 % of the window on.

## Why it costs

As SYNC001: the queue runs empty once a step.

## What to change

- `verbose=False` where the run is not watched.
- A callback that formats the losses every 50 batches.

## Known false alarms

On a GPU-bound run with large batches the wait hides behind the GPU's work.

## Example

Three loss values formatted a step, three `cudaStreamSynchronize` in stage `log`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument, places_of_calls, waits_gain
from tbperf.findings.thresholds import WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for synchronizing calls in the stage that logs."""
    calls = [row for row in trace.syncs if row.stage == "log"]
    count = sum(row.calls for row in calls)
    if not trace.steps or count < len(trace.steps):
        return
    for device in trace.devices:
        gain = waits_gain(trace, device.device, "log")
        if gain is not None and gain.high_ns >= WAITING * device.window_ns:
            evidence = (
                Evidence("synchronizing calls a step while logging", count / len(trace.steps), "calls"),
                Evidence("host time in them", sum(row.host_ns for row in calls), "ns"),
            )
            advice = (advise("print the progress less often", "verbose", argument(trace, "verbose"), False),)
            places = places_of_calls(calls)
            yield Saying(gain.high_ns, evidence, advice, device.device, gain, "medium", places=places)
