"""What rules could look at: no finding of a rule that saw nothing means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tbperf.analyses.examine import TraceReport

_NEEDS = {
    **dict.fromkeys(("SYNC", "COPY", "LAUNCH", "KERNEL", "ALLOC", "COMPILE", "COMM"), "devices"),
    "MEM": "memory",
    "HW": "hardware",
}
"""The analysis that rules rest on, by the letters of their codes; the others look at devices, steps or stages."""


def why_not_looked(code: str, trace: TraceReport) -> str | None:
    """Say why a rule could find nothing in a trace, whatever the program did; None where it could."""
    need = _NEEDS.get(code.rstrip("0123456789"))
    return _why_nothing(trace) if need is None else _why_skipped(need, trace)


def why_blind(trace: TraceReport) -> str | None:
    """Say why rules as a whole could not see what matters in a trace; None where they could.

    A run on the CPU is seen by its steps; one that used a GPU only by what the GPU did.
    """
    without_gpu = _why_skipped("devices", trace)
    calls_it = _why_skipped("syncs", trace) is None
    computes_on_it = trace.run is not None and any(device != "cpu" for device in trace.run.devices(trace.phase))
    if without_gpu is not None and (calls_it or computes_on_it):
        return without_gpu
    return _why_nothing(trace)


def _why_nothing(trace: TraceReport) -> str | None:
    without_gpu, without_steps = (_why_skipped(need, trace) for need in ("devices", "steps"))
    if without_gpu is None or without_steps is None or any(row.stage for row in trace.stages):
        return None
    return f"{without_steps} or stages, and {without_gpu}"


def _why_skipped(analysis: str, trace: TraceReport) -> str | None:
    return next((skipped.reason for skipped in trace.skipped if skipped.analysis == analysis), None)
