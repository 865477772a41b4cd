"""Matrix work without tensor cores.

## What it means

Convolutions and matrix products run in fp32 on the ordinary cores of a GPU that has tensor cores.

## How it is measured

Kernels of the families convolution, matrix product and attention whose name tells of no tensor cores, on a GPU of
compute capability 7.0 or later (or where that is not known), from 10 % of the window on. The gain is that of the
replay with these kernels 1.5 and 3 times faster.

## Why it costs

Tensor cores do the same work 2–8 times faster in half precision, and half the memory traffic helps the rest.

## What to change

- `amp=True` (training), `half=True` (prediction; `quantize=16` in newer versions).
- `torch.backends.cuda.matmul.allow_tf32 = True` where fp32 is needed.
- Channel counts that are multiples of 8.

## Known false alarms

Kernels whose names say nothing. Ultralytics switches AMP off by itself where its check fails (look for «AMP» in its
output).

## Example

ResNet-50 in fp32 on a V100: every convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.findings.diagnose import Saying
from tbperf.findings.finding import (
    Evidence,
    advise,
    argument,
    at_once,
    gain_of,
    half_precision,
    places_of_kernels,
    share,
)
from tbperf.findings.thresholds import NO_TENSOR_CORES, TENSOR_CORES_SINCE, WORTH_TRYING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for matrix work on ordinary cores of a device that has better ones."""
    capability = {gpu.device: gpu.compute_capability for gpu in trace.gpus}
    for device in trace.devices:
        major = (capability.get(device.device) or (TENSOR_CORES_SINCE, 0))[0]
        rows = [row for row in trace.families if row.device == device.device]
        without = sum(row.without_tensor_cores_ns for row in rows)
        cost = at_once(trace, device.device, without)
        if major < TENSOR_CORES_SINCE or cost < NO_TENSOR_CORES * device.window_ns:
            continue
        with_cores = sum(row.tensor_core_ns for row in rows)
        evidence = (Evidence("matrix work on tensor cores", share(with_cores, with_cores + without), "share"),)
        name, to = half_precision(trace)
        advice = (advise("compute in half precision", name, argument(trace, name), to),)
        gain = gain_of(trace, device.device, "tensor_cores")
        if gain is not None and gain.high_ns < WORTH_TRYING * device.window_ns:
            continue
        places = places_of_kernels(trace, device.device, lambda kernel: kernel.tensor_cores is False)
        yield Saying(cost, evidence, advice, device.device, gain, "medium", places=places)
