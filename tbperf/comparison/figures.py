"""The figures that runs are judged by: what gates name, histories show and comparisons compare.

Each is computed from the columns of `tbperf.comparison.recorded`, which are numbers, or arrays of imagined repetitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tbperf.comparison.noise import MEDIAN
from tbperf.comparison.recorded import COUNT, IMAGE, PROCESSES, STEP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tbperf.comparison.repeated import Repeated

    Columns = Mapping[str, Any] | Repeated

NS, SHARE, RATE, NUMBER = "ns", "share", "images/s", "per step"
"""Units."""

LOW, HIGH = "low", "high"
"""Which is better."""


@dataclass(frozen=True)
class Figure:
    """One figure of a run."""

    name: str
    title: str
    unit: str
    better: str | None
    of: Callable[[Columns], Any]
    """Raises KeyError, with the column that the recording lacks."""


def _share(column: str, whole: str) -> Callable[[Columns], Any]:
    return lambda columns: columns[column] / columns[whole]


def _column(column: str) -> Callable[[Columns], Any]:
    return lambda columns: columns[column]


SAME_SPEED = "step_time_same_speed"
"""The step time beyond what all stages share: as if the machine had been as fast on both sides.  Comparisons only."""

FIGURES = (
    Figure("step_time", "step time", NS, LOW, _column(STEP)),
    Figure("step_time_median", "median step time", NS, LOW, _column(STEP + MEDIAN)),
    Figure("throughput", "throughput", RATE, HIGH, lambda c: c[PROCESSES] * 1e9 / c[IMAGE]),
    Figure("gpu_busy", "GPU busy", SHARE, HIGH, _share("busy", "window")),
    Figure("idle", "GPU idle", SHARE, LOW, _share("idle", "window")),
    Figure("compute", "kernels on the GPU", SHARE, None, _share("compute", "window")),
    Figure("exposed_comm", "collectives that nothing hides", SHARE, LOW, _share("exposed_comm", "window")),
    Figure("exposed_memcpy", "copies that nothing hides", SHARE, LOW, _share("exposed_memcpy", "window")),
    Figure("exposed_memset", "memsets that nothing hides", SHARE, LOW, _share("exposed_memset", "window")),
    Figure("kernels", "kernels", NUMBER, None, _column(COUNT + "kernels")),
    Figure("launches", "launches", NUMBER, LOW, _column(COUNT + "launches")),
    Figure("syncs", "synchronizing calls", NUMBER, LOW, _column(COUNT + "syncs")),
    Figure("copies", "copies", NUMBER, LOW, _column(COUNT + "copies")),
)
