"""The rank that others wait for is named."""

import dataclasses

from tbperf.analyses import examine
from tbperf.analyses.ranks import hold_against_each_other, time_collectives
from tbperf.findings import diagnose
from tests.draw import Timeline

ALL_REDUCE = "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevComm*)"


def rank(number, start):
    timeline = Timeline().kernel(0, 10).kernel(start, 900, name=ALL_REDUCE)
    trace = dataclasses.replace(timeline.trace(), rank=number)
    return examine(trace), time_collectives(trace)


def test_the_late_rank_gets_a_finding_with_what_the_others_wait():
    examined = [rank(0, 300), rank(1, 880), rank(2, 300)]

    found = diagnose([report for report, _ in examined], hold_against_each_other(examined).ranks)

    (late,) = [finding for finding in found if finding.code == "COMM002"]
    assert (late.rank, late.cost_ns) == (1, 580_000)


def test_ranks_that_come_together_get_none():
    examined = [rank(0, 300), rank(1, 302)]

    found = diagnose([report for report, _ in examined], hold_against_each_other(examined).ranks)

    assert "COMM002" not in {finding.code for finding in found}
