"""What the hardware did while the program ran, where the recorder sampled it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.rows import Rows
from tbperf.analyses.steps import host_window
from tbperf.trace import NONE

if TYPE_CHECKING:
    import numpy.typing as npt

    from tbperf.trace import Trace

THROTTLE = "throttle_reasons"
"""A bit mask of NVML; what the bits mean stands in `THROTTLE_BITS`."""

THROTTLE_BITS = {
    0x1: "idle",
    0x2: "clocks set by an application",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "temperature",
    0x40: "hardware: temperature",
    0x80: "hardware: power brake",
    0x100: "display clocks",
}
"""``nvmlClocksEventReason…`` of NVML's reference."""


@dataclass(frozen=True)
class HardwareSeries:
    """One series of measurements while the recorded steps ran (without steps: over the whole trace)."""

    series: str
    """What was measured, with its unit."""
    device: int | None
    """GPU, or core; null for the machine or the process tree."""
    samples: int
    min: float
    mean: float
    p50: float
    max: float
    low_step: int | None
    """Step with the lowest mean; null where fewer than two steps hold a sample."""
    high_step: int | None


@dataclass(frozen=True)
class Throttling:
    """A reason for which a GPU ran slower than it could."""

    device: int
    reason: str
    samples: int
    share: float
    """Of the samples of the device."""
    start_ns: int
    """First sample that tells it."""
    dur_ns: int
    """From there to the last one."""


def summarize_hardware(trace: Trace) -> Rows[HardwareSeries]:
    """Summarize each series over the recorded steps."""
    found = [_summary(trace, rows) for rows in _by_series(trace)]
    return Rows(row for row in found if row is not None and row.series != THROTTLE)


def find_throttling(trace: Trace) -> Rows[Throttling]:
    """Tell for what part of the samples each reason to run slower held."""
    samples = trace.samples
    found = []
    for rows in _by_series(trace):
        if trace.strings[samples["series"][rows[0]]] != THROTTLE:
            continue
        inside = _in_window(trace, rows)
        mask, at = samples["value"][inside].astype(np.int64), samples["start_ns"][inside]
        for bit, reason in THROTTLE_BITS.items():
            told = np.flatnonzero(mask & bit)
            if told.size:
                found.append(
                    Throttling(
                        device=int(samples["device"][rows[0]]),
                        reason=reason,
                        samples=int(told.size),
                        share=int(told.size) / len(inside),
                        start_ns=int(at[told[0]]),
                        dur_ns=int(at[told[-1]] - at[told[0]]),
                    )
                )
    return Rows(sorted(found, key=lambda row: -row.share))


def _by_series(trace: Trace) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each series of each device, in order of time."""
    samples = trace.samples
    order = np.lexsort((samples["start_ns"], samples["device"], samples["series"]))
    series, device = samples["series"][order], samples["device"][order]
    opens = np.flatnonzero((series[1:] != series[:-1]) | (device[1:] != device[:-1])) + 1
    return [rows for rows in np.split(order, opens) if len(rows)]


def _in_window(trace: Trace, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Choose the samples that were taken while steps ran; where none was, the one before and the one after."""
    window = host_window(trace)
    if not len(window):
        return rows
    at = trace.samples["start_ns"][rows]
    first, last = int(window.start[0]), int(window.end[-1])
    inside = rows[(at >= first) & (at < last)]
    if inside.size:
        return inside
    before = int(np.searchsorted(at, first))
    return rows[max(0, before - 1) : before + 1]


def _summary(trace: Trace, rows: npt.NDArray[np.int64]) -> HardwareSeries | None:
    samples = trace.samples
    inside = _in_window(trace, rows)
    value = samples["value"][inside]
    if not value.size:
        return None
    device = int(samples["device"][rows[0]])
    step = trace.steps.at(samples["start_ns"][inside])
    known = step >= 0
    low, high = _extreme_steps(step[known], value[known])
    return HardwareSeries(
        series=trace.strings[samples["series"][rows[0]]],
        device=None if device == NONE else device,
        samples=int(value.size),
        min=float(value.min()),
        mean=float(value.mean()),
        p50=float(np.median(value)),
        max=float(value.max()),
        low_step=None if low is None else int(trace.steps.number[low]),
        high_step=None if high is None else int(trace.steps.number[high]),
    )


def _extreme_steps(step: npt.NDArray[np.int64], value: npt.NDArray[np.float64]) -> tuple[int | None, int | None]:
    """Return the steps with the lowest and the highest mean."""
    steps, at = np.unique(step, return_inverse=True)
    if len(steps) < 2:  # noqa: PLR2004 - nothing to compare
        return None, None
    mean = np.bincount(at, weights=value) / np.bincount(at)
    return int(steps[mean.argmin()]), int(steps[mean.argmax()])
