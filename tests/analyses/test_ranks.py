"""Who waits for whom, on drawn ranks."""

import dataclasses

from tbperf.analyses import examine
from tbperf.analyses.ranks import hold_against_each_other, time_collectives
from tests.draw import Timeline

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevComm*)"


def rank(number, *collectives, phase=None):
    """A rank whose collectives run over these spans of µs."""
    timeline = Timeline()
    timeline.kernel(0, 10)
    for start, end in collectives:
        timeline.kernel(start, end, name=ALL_REDUCE)
    timeline.kernel(1000, 1010)
    trace = dataclasses.replace(timeline.trace(), rank=number, recording={"phase": phase})
    return examine(trace), time_collectives(trace)


def test_the_rank_that_comes_last_is_the_one_that_all_wait_for():
    ranks = hold_against_each_other([rank(0, (100, 200), (300, 310)), rank(1, (180, 200), (250, 310))])

    rows = {row.rank: row for row in ranks.ranks}
    assert (rows[0].waits_ns, rows[0].awaited_ns, rows[0].last_in) == (80_000, 50_000, 1)
    assert (rows[1].waits_ns, rows[1].awaited_ns, rows[1].last_in) == (50_000, 80_000, 1)
    assert [(w.rank, w.waits_for, w.wait_ns) for w in ranks.waits] == [(0, 1, 80_000), (1, 0, 50_000)]


def test_clocks_of_ranks_need_not_agree():
    ranks = hold_against_each_other([rank(0, (100, 200)), rank(1, (780, 800))])

    assert [(w.rank, w.waits_for, w.wait_ns) for w in ranks.waits] == [(0, 1, 80_000)]


def test_ranks_with_different_collectives_are_not_aligned():
    ranks = hold_against_each_other([rank(0, (100, 200)), rank(1, (180, 200), (250, 310))])

    assert [row.waits_ns for row in ranks.ranks] == [None, None]
    assert [skipped.analysis for skipped in ranks.skipped] == ["rank_waits"]


def test_phases_are_not_mixed():
    ranks = hold_against_each_other([rank(0, (100, 200), phase="train"), rank(1, (180, 200), phase="val")])

    assert not ranks.ranks
