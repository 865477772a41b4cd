"""Prediction image by image.

## What it means

Images are predicted one at a time (`batch=1`), and the GPU is idle for most of the step.

## How it is measured

Phase `predict`, `batch` 1 in the recorded arguments, and the device idle for at least 30 % of the window.

## Why it costs

Every image pays for all launches and for all Python around them; a batch pays once.

## What to change

- `batch=16` for folders and lists of images.
- `half=True` (`quantize=16` from 8.4 on), `stream=True`; an exported engine (TensorRT) for single images that must be
  answered at once.

## Known false alarms

A camera gives one image at a time: then latency counts and not throughput.

## Example

YOLOv8n at 640 on an A100: 8 ms a step, 2 ms of it GPU work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, advise, argument, gain_of, idle_ns, places_of_idle, share
from tbperf.findings.thresholds import PREDICT_IDLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for single-image prediction on an idle device."""
    if trace.phase != "predict" or argument(trace, "batch") not in (None, 1):
        return
    for device in trace.devices:
        if device.idle_ns >= PREDICT_IDLE * device.window_ns and trace.run is not None:
            evidence = (Evidence("idle", share(device.idle_ns, device.window_ns), "share"),)
            advice = (advise("predict several images at once", "batch", 1, 16),)
            cost = idle_ns(trace, device.device, "launch", "host_op", "python", "dataloader")
            gain = gain_of(trace, device.device, "host")
            places = places_of_idle(trace, device.device, "launch", "host_op", "python", "dataloader")
            yield Saying(cost, evidence, advice, device.device, gain, "medium", places=places)
