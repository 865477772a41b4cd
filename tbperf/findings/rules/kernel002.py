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
from tbperf.findings.finding import Evidence, advise, argument, gain_of, places_of_kernels, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses.examine import TraceReport

SHARE = 0.10
FIRST_WITH_TENSOR_CORES = (7, 0)


def find(trace: TraceReport) -> Iterator[Saying]:
    """Look for matrix work on ordinary cores of a device that has better ones."""
    capability = {gpu.device: gpu.compute_capability for gpu in trace.gpus}
    for device in trace.devices:
        if (capability.get(device.device) or FIRST_WITH_TENSOR_CORES) < FIRST_WITH_TENSOR_CORES:
            continue
        rows = [row for row in trace.families if row.device == device.device]
        cost = sum(row.without_tensor_cores_ns for row in rows)
        if cost < SHARE * device.window_ns:
            continue
        with_cores = sum(row.tensor_core_ns for row in rows)
        evidence = (Evidence("matrix work on tensor cores", share(with_cores, with_cores + cost), "share"),)
        name = "half" if trace.phase == "predict" else "amp"
        advice = (advise("compute in half precision", name, argument(trace, name), True),)
        yield Saying(
            cost,
            evidence,
            advice,
            device.device,
            gain_of(trace, device.device, "tensor_cores"),
            "medium",
            places=places_of_kernels(trace, device.device, lambda kernel: kernel.tensor_cores is False),
        )
