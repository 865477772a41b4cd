"""Non-maximum suppression takes much of the time.

## What it means

NMS sorts and compares candidate boxes. It takes a large part of each prediction or validation step.

## How it is measured

Host time of the stage `nms`, from 10 % of the steps on.

## Why it costs

Its cost grows with the candidates that pass `conf`, and with their number squared inside a class.

## What to change

- A higher `conf` (0.001 in validation lets nearly everything through), a lower `max_det`.
- `agnostic_nms=False`, and models without NMS (YOLOv10, `nms=False` in newer versions).

## Known false alarms

Untrained models: they pass nearly every box.

## Example

A validation with `conf=0.001`: NMS took longer than inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, argument, places_of_stages, stage_ns, window_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.10


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for much time in NMS."""
    window = window_ns(trace, None)
    cost = stage_ns(trace, "nms")
    if cost >= SHARE * window:
        evidence = (Evidence("share of the steps", cost / window, "share"),)
        advice = (
            advise("let fewer boxes through", "conf", argument(trace, "conf"), 0.25),
            advise("keep fewer boxes", "max_det", argument(trace, "max_det"), 100),
        )
        yield Saying(
            cost, evidence, advice, gain=Gain(0, cost), confidence="medium", places=places_of_stages(trace, "nms")
        )
