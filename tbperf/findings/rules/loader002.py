"""Too few worker processes load images.

## What it means

The batch is read, decoded and augmented by fewer processes than it takes to keep up: by the training process itself
(`workers=0`), between two steps; or by workers that are busy all the time and still late.

## How it is measured

As LOADER001, where the recorded command says `workers=0`, or torch's annotation names the single-process iterator, or
operators run inside the stage `dataload`. With what the recorder saw in the workers: fewer workers than the process
has cores (at most 8), each busy at least 70 % of the time, while the program waits.

## Why it costs

With `workers=0` loading and computing take turns instead of running side by side. With too few workers a step takes
as long as they need for a batch, divided by their number.

## What to change

- `workers=8`, or as many as the process has cores: then batches are prepared while the GPU works. The finding names
  the number that the recorded times ask for.
- On the CPU Ultralytics sets `workers=0` itself: there lighter augmentation and `cache=ram` are what helps.
- Where all workers share one or two cores, the CPU affinity of the process is what to change, not `workers`.

## Known false alarms

A dataset of a single batch, and debugging: `workers=0` is right there. More workers than cores can be slower.

## Example

`resnet50` on a V100 with the images loaded in the training process: 283.7 ms of a window of 996.5 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.finding import Evidence, advise, argument, loads_in_process, more_workers
from tbperf.findings.loading import loader_fault, starved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport
    from tbperf.findings.diagnose import Saying


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for time that waits for a batch while too few hands prepare it."""
    fault = loader_fault(trace)
    if fault == "LOADER002" and not loads_in_process(trace):
        yield from _too_few(trace)
    elif loads_in_process(trace) and (fault == "LOADER002" or trace.devices):
        yield from _in_process(trace)


def _in_process(trace: TraceReport) -> Iterator[Saying]:
    workers = (advise("load in worker processes", "workers", 0, more_workers(trace)),)
    lighter = [advise("keep decoded images", "cache", argument(trace, "cache"), "ram")]
    if trace.phase != "val":  # which does not augment
        lighter.append(advise("lighten the augmentation", "mosaic", argument(trace, "mosaic"), 0.0))
    title = None if trace.devices else "The program loads its images itself"  # Ultralytics has no workers on the CPU
    for wait in starved(trace):
        evidence = (Evidence("loading", wait.share, wait.unit),)
        yield wait.saying(evidence, workers if trace.devices else lighter, title=title)


def _too_few(trace: TraceReport) -> Iterator[Saying]:
    loading = trace.loading
    assert loading is not None  # noqa: S101 - else the fault is another
    needed = more_workers(trace)
    if loading.demand_ns:
        needed = min(needed, max(loading.workers + 1, -(-loading.batch_ns // loading.demand_ns)))
    advice = (
        advise("load with more worker processes", "workers", argument(trace, "workers") or loading.workers, needed),
    )
    for wait in starved(trace):
        evidence = (
            Evidence("waiting for a batch", wait.share, wait.unit),
            Evidence("workers", loading.workers, "workers"),
            Evidence("each of them busy", loading.busy_share, "share"),
            Evidence("a worker needs for a batch", loading.batch_ns, "ns"),
            Evidence("a step needs without waiting", loading.demand_ns or 0, "ns"),
        )
        yield wait.saying(evidence, advice, title=f"{_count(loading.workers)} too few for the loader's work")


def _count(workers: int) -> str:
    return "One worker is" if workers == 1 else f"{workers} workers are"
