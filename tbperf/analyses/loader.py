"""Who prepares the batches, what it takes, and whether it is fast enough, where the recorder looked into the loader.

Loader workers are processes beside the program; what they did stands in ranges ``loader/…`` on threads of their own:
``fetch`` (a whole batch), in it ``load_image``, each transform by its name, and ``collate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.analyses.steps import host_window, time_of_threads
from tbperf.intervals import NOTHING, sum_by
from tbperf.trace.stages import LOADER_PREFIX

if TYPE_CHECKING:
    from tbperf.trace import Table, Trace

FETCH, LOAD, COLLATE = "fetch", "load_image", "collate"
"""A whole batch; reading and decoding an image; joining images to a batch."""


@dataclass(frozen=True)
class LoaderWork:
    """One sort of work of the loader, over all its workers."""

    work: str
    """``load_image``, a transform, ``collate``, or ``fetch`` for what is none of them."""
    calls: int
    self_ns: int
    """Time in it and in nothing that it calls."""
    total_ns: int
    mean_ns: int
    """Of a call, with what it calls."""
    per_image_ns: int | None
    """Self time by loaded image; null where no image was loaded."""
    share: float
    """Of the self time of all work; the shares sum to 1."""
    longest_ns: int
    longest_start_ns: int


@dataclass(frozen=True)
class LoaderWorker:
    """One worker."""

    worker: str
    batches: int
    busy_ns: int
    """Time of the steps (of the trace, without steps) in which it prepared a batch."""
    share: float
    """Of that time."""


@dataclass(frozen=True)
class Loading:
    """The loader against what the program asks of it."""

    workers: int
    """Workers that prepared a batch; 0 where the program does so itself."""
    batches: int
    images: int
    batch_ns: int
    """What one worker needs for one batch, on average."""
    images_per_s: float | None
    """What the workers deliver when all are busy; null where no image was loaded."""
    supply_ns: int
    """From one batch to the next when all workers are busy."""
    demand_ns: int | None
    """From one batch to the next if the program never waited for one; null without steps."""
    busy_share: float
    """Mean share of the time in which a worker was busy."""


def has_loading(trace: Trace) -> bool:
    """Tell whether the trace shows what loader workers did."""
    return bool(trace.loading.any())


def _work(trace: Trace) -> Table:
    return trace.ranges.rows(trace.loading)


def sum_loader_work(trace: Trace) -> Rows[LoaderWork]:
    """Sum the loader's work by sort."""
    rows = _work(trace)
    codes, group = np.unique(rows["name"], return_inverse=True)
    calls = np.bincount(group, minlength=len(codes))
    total = sum_by(group, rows["dur_ns"], len(codes))
    which = np.full(len(trace.ranges), NOTHING, np.int64)
    which[trace.loading] = group
    tilings = trace.innermost(trace.ranges).relabelled(which)
    own = sum_by(tilings.label, tilings.end - tilings.start, len(codes))
    order = np.lexsort((rows["dur_ns"], group))
    longest = order[np.cumsum(calls) - 1]
    names = [text.removeprefix(LOADER_PREFIX) for text in trace.texts(codes)]
    images = sum(int(count) for name, count in zip(names, calls, strict=True) if name == LOAD)
    whole = max(1, int(own.sum()))
    found = [
        LoaderWork(
            work=name,
            calls=int(calls[i]),
            self_ns=int(own[i]),
            total_ns=int(total[i]),
            mean_ns=int(total[i] // calls[i]),
            per_image_ns=int(own[i] // images) if images else None,
            share=int(own[i]) / whole,
            longest_ns=int(rows["dur_ns"][longest[i]]),
            longest_start_ns=int(rows["start_ns"][longest[i]]),
        )
        for i, name in enumerate(names)
    ]
    return Rows.first(sorted(found, key=lambda row: -row.self_ns), lambda row: row.self_ns)


def list_workers(trace: Trace) -> Rows[LoaderWorker]:
    """Measure how busy each worker was while the program ran."""
    return Rows.first(trace.once(_workers), lambda row: row.busy_ns)


def _workers(trace: Trace) -> list[LoaderWorker]:
    rows, window = _work(trace), host_window(trace)
    fetches = trace.named(rows, lambda name: name == LOADER_PREFIX + FETCH)
    batches = np.bincount(rows["thread"][fetches], minlength=len(trace.threads)).tolist()
    busy_ns = time_of_threads(trace, rows, window)
    found = []
    for thread in np.unique(rows["thread"]).tolist():
        busy, about = busy_ns[thread], trace.threads[thread]
        found.append(
            LoaderWorker(
                worker=about.name or f"process {about.pid}",
                batches=batches[thread],
                busy_ns=busy,
                share=busy / window.total_ns,
            )
        )
    return sorted(found, key=lambda row: -row.busy_ns)


def weigh_loader(trace: Trace) -> Loading:
    """Hold what the workers can deliver against what the program asks for."""
    rows, workers = _work(trace), trace.once(_workers)
    fetches = rows.rows(trace.named(rows, lambda name: name == LOADER_PREFIX + FETCH))
    images = int(trace.named(rows, lambda name: name == LOADER_PREFIX + LOAD).sum())
    batches = len(fetches)
    spent = int(fetches["dur_ns"].sum())
    batch = spent // max(1, batches)
    beside = [worker for worker in workers if worker.worker.startswith("loader worker")]
    hands = max(1, len(beside))
    return Loading(
        workers=len(beside),
        batches=batches,
        images=images,
        batch_ns=batch,
        images_per_s=hands * images * 1e9 / spent if spent and images else None,
        supply_ns=batch // hands,
        demand_ns=_demand(trace),
        busy_share=sum(worker.share for worker in workers) / max(1, len(workers)),
    )


def _demand(trace: Trace) -> int | None:
    """Return the mean length of a step without what it waits for its batch; a device needs what it works, at least."""
    if not len(trace.steps):
        return None
    window = host_window(trace)
    waiting = sum(
        (trace.stage_tiling.spans_of(trace.stage_names.index(stage)) & window).total_ns
        for stage in ("dataload", "fetch")
        if stage in trace.stage_names
    )
    working = max((busy.total_ns for busy in trace.busy.values()), default=0)
    return max(window.total_ns - waiting, working) // len(trace.steps)
