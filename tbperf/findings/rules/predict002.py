"""Work around the model takes longer than the model.

## What it means

Reading, preprocessing, postprocessing, writing results or the consumer's own code take longer than inference.

## How it is measured

Phase `predict`: host time of the stages dataload, preprocess, postprocess, nms, track, write, consumer together (with a
GPU, the time that it idles in them) against `inference`, where the first is larger.

## Why it costs

A faster GPU or model changes nothing then.

## What to change

- `save=False`, `verbose=False`, `show=False`: writing and drawing are often the largest part.
- `stream=True` and a consumer that does its work elsewhere.
- `vid_stride` for videos; smaller source images.
- `batch` larger than 1.

## Known false alarms

On the first steps, reading includes opening the source.

## Example

Annotated images written as JPEG: 14 ms to write, 9 ms to infer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise, argument, gain_of, places_of_stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.finding import Value

AROUND = ("dataload", "fetch", "preprocess", "postprocess", "nms", "track", "write", "consumer")
ADVICE: dict[str, tuple[str, str, Value, Value]] = {
    "dataload": ("read less: smaller images, or every n-th frame", "vid_stride", 1, 2),
    "fetch": ("read less: smaller images, or every n-th frame", "vid_stride", 1, 2),
    "write": ("write no annotated images", "save", True, False),
    "consumer": ("do the consumer's work elsewhere", "stream", None, True),
    "preprocess": ("predict several images at once", "batch", 1, 16),
    "postprocess": ("keep fewer boxes", "max_det", 300, 100),
    "nms": ("let fewer boxes through", "conf", None, 0.25),
    "track": ("track fewer boxes", "conf", None, 0.25),
}
"""What to do about a stage: action, argument, its default, what to try."""


def find(trace: TraceReport) -> Iterator[Saying]:
    """Compare inference with what is around it: on a GPU, with what leaves it idle."""
    rows = {row.stage: row for row in trace.stages}
    if trace.phase != "predict" or "inference" not in rows:
        return
    model = rows["inference"]
    inference = max(model.host_ns, model.gpu_ns or 0)
    parts = {
        stage: rows[stage].host_ns
        if rows[stage].idle_ns is None
        else min(rows[stage].host_ns, rows[stage].idle_ns or 0)
        for stage in AROUND
        if stage in rows
    }
    cost = sum(parts.values())
    if not inference or cost <= inference:
        return
    top = max(parts, key=lambda stage: parts[stage])
    evidence = (
        Evidence("inference", inference, "ns"),
        Evidence("around it", cost, "ns"),
        Evidence(top, parts[top], "ns"),
    )
    device = trace.devices[0].device if len(trace.devices) == 1 else None
    gain = gain_of(trace, device, f"stage: {top}") if device is not None else None
    action, name, usual, to = ADVICE[top]
    recorded = argument(trace, name)
    now = usual if recorded is None else recorded
    advice = (advise(action) if now == to else advise(action, name, now, to),)
    places = places_of_stages(trace, *AROUND)
    yield Saying(cost, evidence, advice, device, gain or Gain(0, parts[top]), "medium", places=places)
