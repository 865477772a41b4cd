"""Ranks of a distributed job held against each other: who is late, and who waits for whom.

A collective ends on all ranks at about the same time, and begins on each when that rank arrives.  So the rank on which
it runs shortest came last, and what it runs longer on another is time that the other waited.  Only durations are
compared: the clocks of ranks need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tbperf.analyses.collectives import operation_of
from tbperf.analyses.rows import Rows, Skipped
from tbperf.intervals import Ns, rows_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tbperf.analyses.examine import TraceReport
    from tbperf.trace import Trace

CollectiveTimes = dict[str, Ns]
"""Durations in ns of a rank's collectives by operation, in the order in which they ran."""


@dataclass(frozen=True)
class Rank:
    """One rank beside the others, over all its recorded windows of a phase."""

    rank: int
    phase: str | None
    steps: int
    step_ns: int | None
    """Mean duration of a step; null where none are marked."""
    busy_ns: int
    idle_ns: int
    dataload_ns: int
    """Host time in the stage that waits for batches; idle time for want of a batch where no stages are named."""
    collective_ns: int
    exposed_comm_ns: int
    waits_ns: int | None
    """Time in collectives until the last rank came; null where collectives could not be aligned."""
    awaited_ns: int | None
    """Time that all others waited for this rank in collectives."""
    last_in: int | None
    """Collectives to which this rank came last."""


@dataclass(frozen=True)
class RankWait:
    """Time that one rank waited in collectives for another, which came last to them."""

    rank: int
    waits_for: int
    phase: str | None
    wait_ns: int
    collectives: int


@dataclass(frozen=True)
class Ranks:
    """All ranks of a job, the slowest first, and who waits for whom."""

    ranks: Rows[Rank]
    waits: Rows[RankWait]
    skipped: tuple[Skipped, ...] = ()


def time_collectives(trace: Trace) -> CollectiveTimes:
    """Return the durations of a trace's collectives."""
    operation, names = operation_of(trace)
    rows = np.flatnonzero(trace.kernels & (operation >= 0))
    rows = rows[np.argsort(trace.gpu["start_ns"][rows], kind="stable")]
    return {names[code]: trace.gpu["dur_ns"][rows[mine]] for code, mine in rows_by(operation[rows])}


def hold_against_each_other(examined: Sequence[tuple[TraceReport, CollectiveTimes]]) -> Ranks:
    """Compare the ranks of each phase; nothing to say where a phase has fewer than two."""
    ranks: list[Rank] = []
    waits: list[RankWait] = []
    skipped: list[Skipped] = []
    for phase in dict.fromkeys(report.phase for report, _ in examined):
        of_rank: dict[int, list[tuple[TraceReport, CollectiveTimes]]] = {}
        for report, times in examined:
            if report.phase == phase and report.rank is not None:
                of_rank.setdefault(report.rank, []).append((report, times))
        if len(of_rank) > 1:
            of_all = {rank: _joined([times for _, times in parts]) for rank, parts in sorted(of_rank.items())}
            wait = _waits(of_all)
            if wait is None and any(of_all.values()):
                skipped.append(Skipped("rank_waits", "the ranks' traces hold different numbers of collectives"))
            ranks += [_rank(rank, phase, [r for r, _ in of_rank[rank]], of_all, wait) for rank in of_all]
            if wait is not None:
                waits += _pairs(list(of_all), phase, wait)
    return Ranks(
        Rows(sorted(ranks, key=lambda row: (-(row.awaited_ns or 0), row.rank))),
        Rows.first(sorted(waits, key=lambda row: -row.wait_ns), lambda row: row.wait_ns),
        tuple(skipped),
    )


@dataclass(frozen=True)
class _Waits:
    """One row a rank, one column a collective."""

    wait_ns: Ns
    last: Ns
    """Row of the rank that came last."""


def _joined(parts: list[CollectiveTimes]) -> CollectiveTimes:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}


def _waits(times: Mapping[int, CollectiveTimes]) -> _Waits | None:
    """Align the n-th collective of each operation on all ranks; None where the ranks do not hold the same."""
    of_ranks = list(times.values())
    names = list(of_ranks[0])
    if not names or any(
        part.keys() != of_ranks[0].keys() or any(len(part[name]) != len(of_ranks[0][name]) for name in names)
        for part in of_ranks
    ):
        return None
    durations = np.stack([np.concatenate([part[name] for name in names]) for part in of_ranks])
    return _Waits(durations - durations.min(axis=0), durations.argmin(axis=0))


def _pairs(ranks: list[int], phase: str | None, wait: _Waits) -> Iterator[RankWait]:
    """Yield who waited for whom."""
    for late, here in rows_by(wait.last):
        mine = wait.wait_ns[:, here]
        facts = zip(ranks, mine.sum(axis=1).tolist(), (mine > 0).sum(axis=1).tolist(), strict=True)
        for rank, total, collectives in facts:
            if rank != ranks[late] and total:
                yield RankWait(rank, ranks[late], phase, total, collectives)


def _rank(
    rank: int,
    phase: str | None,
    reports: list[TraceReport],
    times: Mapping[int, CollectiveTimes],
    wait: _Waits | None,
) -> Rank:
    steps = [step.dur_ns for report in reports for step in report.steps]
    staged = [row.host_ns for report in reports for row in report.stages if row.stage == "dataload"]
    starved = [row.idle_ns for report in reports for row in report.idle if row.cause == "dataloader"]
    devices = [device for report in reports for device in report.devices]
    row = list(times).index(rank)
    return Rank(
        rank=rank,
        phase=phase,
        steps=len(steps),
        step_ns=sum(steps) // len(steps) if steps else None,
        busy_ns=sum(device.busy_ns for device in devices),
        idle_ns=sum(device.idle_ns for device in devices),
        dataload_ns=sum(staged) or sum(starved),
        collective_ns=sum(int(durations.sum()) for durations in times[rank].values()),
        exposed_comm_ns=sum(device.exposed_comm_ns for device in devices),
        waits_ns=int(wait.wait_ns[row].sum()) if wait else None,
        awaited_ns=int(wait.wait_ns[:, wait.last == row].sum()) if wait else None,
        last_in=int((wait.last == row).sum()) if wait else None,
    )
