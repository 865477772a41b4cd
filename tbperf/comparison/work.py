"""Operators and kernels of both sides, matched by name, shapes and stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tbperf.analyses import TraceReport
    from tbperf.comparison.recorded import Recorded


class Key(NamedTuple):
    """What makes two pieces of work the same."""

    sort: str
    name: str
    shapes: str | None
    stage: str | None


KERNEL, FAMILY, OPERATOR, SHAPED = "kernel", "family", "operator", "operator with shapes"


class Work(NamedTuple):
    """What one piece of work takes, a step."""

    ns: float
    calls: float | None
    """Null where the trace counts calls by name only, and the work lies in several stages."""


def work_of(run: Recorded) -> dict[Key, Work]:
    """Sum the work of a run."""
    sums: dict[Key, tuple[float, float | None]] = {}
    for trace in run.traces:
        for key, ns, calls in _work(trace):
            before = sums.get(key, (0.0, 0.0))
            sums[key] = before[0] + ns, None if calls is None or before[1] is None else before[1] + calls
    return {
        key: Work(ns / run.windows, None if calls is None else calls / run.windows) for key, (ns, calls) in sums.items()
    }


def _work(trace: TraceReport) -> Iterator[tuple[Key, int, int | None]]:
    for kernel in trace.kernels:
        yield from _by_stage(KERNEL, kernel.name, kernel.stage, kernel.total_ns, kernel.calls)
    for family in trace.families:
        yield Key(FAMILY, family.family, None, None), family.total_ns, family.calls
    for operator in trace.operators:
        yield from _by_stage(OPERATOR, operator.name, operator.stage, operator.self_ns, operator.calls)
    for shaped in trace.operator_shapes:
        yield Key(SHAPED, shaped.name, shaped.shapes, None), shaped.self_ns, shaped.calls


def _by_stage(sort: str, name: str, stages: object, total: int, calls: int) -> Iterator[tuple[Key, int, int | None]]:
    found = dict(stages)  # type: ignore[call-overload]
    if not found:
        yield Key(sort, name, None, None), total, calls
    for stage, ns in found.items():
        yield Key(sort, name, None, stage), ns, calls if len(found) == 1 else None
