"""Cores and threads of a run on the CPU: what its findings and its verdict ask alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.host import HostWork

PARALLEL = (
    "convolution",
    "matrix product",
    "attention",
    "normalization",
    "activation",
    "pooling",
    "upsampling",
    "softmax",
)
"""Work that torch splits over its threads, and that a GPU takes over whole."""


def parallel_work(trace: TraceReport) -> list[HostWork]:
    """Return what the steps do in such work, dearest first."""
    return [row for row in trace.host_work if row.work in PARALLEL]


def free_cores(trace: TraceReport) -> float | None:
    """Return how many of the cores that the process may use nobody used, on average; None where it is not known.

    What others use on cores that the process may not use is counted against it, too: rather too little is free.
    """
    cores = trace.cores
    if cores is None or not cores.usable_cores:
        return None
    own = None if cores.used_cores is None else cores.used_cores + cores.loader_cores
    used = [part for part in (own, cores.machine_used_cores) if part is not None]
    return max(0.0, cores.usable_cores - max(used)) if used else None


def others_cores(trace: TraceReport) -> float | None:
    """Return how many cores other programs used, on average; None where it is not known."""
    cores = trace.cores
    if cores is None or cores.used_cores is None or cores.machine_used_cores is None:
        return None
    return max(0.0, cores.machine_used_cores - cores.used_cores - cores.loader_cores)


def wanted_cores(trace: TraceReport) -> float | None:
    """Return how many cores the program wants at once: torch's threads, and its loader workers as far as they work."""
    cores = trace.cores
    return None if cores is None or not cores.intra_op_threads else cores.intra_op_threads + cores.loader_cores


def unused_gpu(trace: TraceReport) -> str | None:
    """Return the name of a GPU of the machine where the run computed on the CPU all the same."""
    gpus = trace.run.hardware.get("gpus") if trace.run else None
    on_cpu = trace.run is not None and trace.run.devices(trace.phase) == ("cpu",)
    if trace.devices or not on_cpu or not isinstance(gpus, list) or not gpus or not isinstance(gpus[0], dict):
        return None
    return str(gpus[0].get("name") or "GPU")
