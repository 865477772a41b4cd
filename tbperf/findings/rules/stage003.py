"""Non-maximum suppression takes much of the time.

## What it means

NMS sorts and compares candidate boxes. It takes a large part of each prediction or validation step.

## How it is measured

Host time of the stage `nms`, from 10 % of the steps on; with a GPU, what the replay saves without it (the GPU may
idle only later for it), from 10 % of the window on.

## Why it costs

Its cost grows with the candidates that pass `conf`, and with their number squared inside a class.

## What to change

- In prediction: a higher `conf`, a lower `max_det`.
- In validation `conf` is low on purpose (0.001: the whole curve counts), and mAP falls a little with what is cut off: a
  higher one (0.01) is for the epochs between, not for figures that are compared with others. Validate less often.
- `agnostic_nms=False`, and models without NMS (YOLOv10, `nms=False` in newer versions).

## Known false alarms

Untrained models: they pass nearly every box.

## Example

A validation with `conf=0.001`: NMS took longer than inference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, argument, gain_of, places_of_stages, window_ns
from tbperf.findings.thresholds import NMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for much time in NMS."""
    row = next((row for row in trace.stages if row.stage == "nms"), None)
    device = trace.devices[0].device if len(trace.devices) == 1 else None
    if row is None:
        return
    window = window_ns(trace, device)
    gain = None if device is None else gain_of(trace, device, "stage: nms")
    cost = gain.high_ns if gain else row.host_ns if row.idle_ns is None else min(row.host_ns, row.idle_ns)
    if cost >= NMS * window:
        evidence = (Evidence("share of the steps", row.share, "share"),)
        if trace.phase == "predict":
            action, conf = "let fewer boxes through", 0.25
        else:
            action, conf = "let fewer boxes through where mAP may fall a little for it", 0.01
        advice = (
            advise(action, "conf", argument(trace, "conf"), conf),
            advise("keep fewer boxes", "max_det", argument(trace, "max_det"), 100),
        )
        found = gain or Gain(cost // 2, cost)
        yield Saying(cost, evidence, advice, device, found, "medium", places=places_of_stages(trace, "nms"))
