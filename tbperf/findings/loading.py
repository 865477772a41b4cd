"""Waiting for batches: what it costs, and which of the loader's findings tells why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tbperf.analyses.loader import COLLATE, FETCH, LOAD
from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import (
    Gain,
    Place,
    gain_of,
    idle_ns,
    loads_in_process,
    more_workers,
    places_of_idle,
    places_of_stages,
    stage_ns,
    window_ns,
)
from tbperf.findings.thresholds import SLOW_STORAGE, SLOW_TRANSFORM, STARVED, STARVED_CPU, WORKERS_BUSY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.loader import LoaderWork
    from tbperf.findings.finding import Advice, Evidence


@dataclass(frozen=True)
class Starvation:
    """Time that waits for a batch: idle time of a device or, on the CPU, of the loop."""

    device: int | None
    cost_ns: int
    share: float
    """Of the device's idle time; on the CPU, of the steps."""
    unit: str
    gain: Gain | None
    places: tuple[Place, ...]
    supply_ns: int = 0
    demand_ns: int = 0
    """From one batch to the next: by the workers, and as the program would have it; 0 where it is not known."""

    def saying(  # noqa: PLR0913 - what the findings differ in
        self,
        evidence: Sequence[Evidence],
        advice: Sequence[Advice],
        *,
        title: str | None = None,
        part: float = 1.0,
        work: Gain | None = None,
        places: tuple[Place, ...] = (),
        confidence: str | None = None,
    ) -> Saying:
        """Say it; where one part of the work is to blame, ``work``: what the replay saves without it.

        Where there is no replay, ``part``: how much of the loader's work that is.
        """
        gain = work or self.gain
        if work is None and gain is not None and part < 1:
            gain = Gain(round(gain.high_ns * self._recovered(part / 2)), round(gain.high_ns * self._recovered(part)))
        sure = "high" if self.device is not None else "medium"
        return Saying(
            self.cost_ns,
            evidence,
            advice,
            self.device,
            gain,
            confidence or sure,
            title=title,
            places=(*self.places[:2], *places) if places else self.places,
        )

    def _recovered(self, part: float) -> float:
        """Return how much of the wait goes if a part of the loader's work goes: all, once batches come in time."""
        late = self.supply_ns - self.demand_ns
        return min(1.0, self.supply_ns * part / late) if self.demand_ns and late > 0 else part


def starved(trace: TraceReport) -> Iterator[Starvation]:
    """Yield each device that waits for batches long enough to speak of; on the CPU, the loop.

    A prediction reads its images itself: that is for PREDICT002 to tell.
    """
    if trace.phase == "predict":
        return
    pace = (trace.loading.supply_ns, trace.loading.demand_ns or 0) if trace.loading else (0, 0)
    for device in trace.devices:
        cost = idle_ns(trace, device.device, "dataloader")
        if cost >= STARVED * device.window_ns:
            gain = gain_of(trace, device.device, "dataloader")
            places = places_of_idle(trace, device.device, "dataloader")
            yield Starvation(device.device, cost, cost / max(1, device.idle_ns), "share", gain, places, *pace)
    window = window_ns(trace, None)
    cost = stage_ns(trace, "dataload", "fetch")
    if not trace.devices and cost >= STARVED_CPU * window:
        places = places_of_stages(trace, "dataload", "fetch")
        yield Starvation(None, cost, cost / window, "share", Gain(cost // 2, cost), places, *pace)


def loader_fault(trace: TraceReport) -> str:
    """Return the code of the finding that tells best why batches are late, where they are."""
    work = dearest_transform(trace)
    if work is not None and work.share >= SLOW_TRANSFORM:
        return "LOADER003"
    if any(row.work == LOAD and row.share >= SLOW_STORAGE for row in trace.loader_work):
        return "LOADER004"
    if loads_in_process(trace):
        return "LOADER002"
    loading = trace.loading
    late = loading is not None and loading.demand_ns is not None and loading.supply_ns > loading.demand_ns
    if loading is not None and late and loading.busy_share >= WORKERS_BUSY and loading.workers < more_workers(trace):
        return "LOADER002"
    return "LOADER001"


def dearest_transform(trace: TraceReport) -> LoaderWork | None:
    """Return the transform that takes most of the loader's time; None where none was recorded."""
    return next((row for row in trace.loader_work if row.work not in (LOAD, FETCH, COLLATE)), None)


def place_of_work(work: LoaderWork) -> tuple[Place, ...]:
    """Return where one sort of the loader's work took longest."""
    return (Place(work.longest_start_ns, work.longest_ns, work.work),)
