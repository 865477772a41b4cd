"""The link to the GPU is full.

## What it means

PCIe carries nearly as much as it can while the steps run.

## How it is measured

NVML's throughput of the link, sampled while the steps ran: a mean of at least 70 % of what 16 lanes of the slowest
generation carry that explains the fastest sample and the fastest copy of at least 1 MB, and copies that no kernel
hides. The cost is the time of those.

## Why it costs

Copies take as long as the link needs, whatever the rest of the machine does.

## What to change

- Copy `uint8` images and convert them on the GPU; do not copy what is there already.
- A slot with all its lanes: `nvidia-smi -q` shows the link's width and generation under load.

## Known false alarms

A card in a slot of fewer lanes is told too late: its limit is taken for that of a wider one.

## Example

Weights streamed from the host in every step: 22 GB/s over PCIe 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import Evidence, Gain, advise
from tbperf.findings.thresholds import PCIE_BUSY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

_GENERATIONS = (3.94e9, 7.88e9, 15.75e9, 31.5e9, 63.0e9)
"""Nominal bytes per second of 16 lanes of PCIe 1 to 5, one way."""


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for links to GPUs that are busy most of the time."""
    told: set[int | None] = {None}
    for series in trace.hardware:
        if series.series not in ("pcie_rx_bytes_per_s", "pcie_tx_bytes_per_s") or series.device in told:
            continue
        fastest = max(series.max, _fastest_copy(trace, series.device))
        limit = next((rate for rate in _GENERATIONS if rate >= fastest), _GENERATIONS[-1])
        copying = sum(row.exposed_memcpy_ns for row in trace.devices if row.device == series.device)
        if series.mean < PCIE_BUSY * limit or not copying:
            continue
        evidence = (
            Evidence("over the link, on average", series.mean, "B/s"),
            Evidence("its limit, by the fastest sample or copy", limit, "B/s"),
        )
        advice = (advise("send less: uint8 images, converted on the GPU; data that stays on the GPU"),)
        told.add(series.device)
        yield Saying(copying, evidence, advice, series.device, Gain(0, copying), "low")


def _fastest_copy(trace: TraceReport, device: int | None) -> float:
    """Return bytes per second of the fastest large copy over the link; 0 where there is none."""
    over_it = (row for row in trace.copies if row.device == device and row.copy_kind in ("HtoD", "DtoH"))
    return max((row.bytes_per_s or 0.0 for row in over_it if (row.bytes or 0) >= _LARGE_BYTES), default=0.0)


_LARGE_BYTES = 1 << 20
"""A smaller copy is over before its speed can be told."""
