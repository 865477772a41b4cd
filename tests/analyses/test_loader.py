"""What loader workers did, and what of it is the program's concern."""

import pytest

from tbperf.analyses import examine
from tests.draw import Timeline


def report():
    """Two steps of 100 µs that wait 40 for a batch; two workers, of 60 µs each a batch."""
    timeline = Timeline()
    for step in range(2):
        start = 100 * step
        timeline.step(step, start, start + 100).stage("dataload", start, start + 40).stage(
            "forward", start + 40, start + 100
        )
        timeline.op("aten::conv2d", start + 40, start + 100)
        timeline.loaded("fetch", start, start + 60, worker=step)
        timeline.loaded("load_image", start, start + 30, worker=step)
        timeline.loaded("Mosaic", start + 30, start + 50, worker=step)
        timeline.loaded("load_image", start + 35, start + 45, worker=step)
    return examine(timeline.trace())


def test_work_counts_without_what_it_calls():
    work = {row.work: (row.calls, row.self_ns, row.total_ns) for row in report().loader_work}

    assert work == {
        "load_image": (4, 80_000, 80_000),
        "Mosaic": (2, 20_000, 40_000),
        "fetch": (2, 20_000, 120_000),
    }
    assert sum(row.share for row in report().loader_work) == pytest.approx(1)


def test_workers_are_held_against_what_the_steps_need():
    loading = report().loading

    assert (loading.workers, loading.batches, loading.images) == (2, 2, 4)
    assert (loading.batch_ns, loading.supply_ns, loading.demand_ns) == (60_000, 30_000, 60_000)
    assert loading.busy_share == 0.3
    assert loading.images_per_s == 2 * 4 * 1e9 / 120_000


def test_loader_work_is_no_work_of_the_program():
    """Neither a stage, nor host time, nor the main thread."""
    timeline = Timeline().op("aten::add", 100, 110).loaded("fetch", 0, 5000).kernel(120, 130, call=(112, 114))

    found = examine(timeline.trace())

    assert not [row for row in found.stages if row.stage]
    assert sum(row.host_ns for row in found.stages) == 14_000
    assert [row.main for row in found.threads] == [True]


def test_without_records_the_analysis_says_so():
    found = examine(Timeline().op("aten::add", 0, 10).trace())

    assert found.loading is None
    assert {"loading", "hardware"} <= {skipped.analysis for skipped in found.skipped}
