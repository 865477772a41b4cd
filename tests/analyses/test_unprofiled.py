"""Profiled steps are held against the others of their run."""

from dataclasses import replace

import pytest

from tbperf.analyses import examine
from tbperf.findings.trust import about_profiling
from tbperf.trace.run import Run, StepTimes
from tests.draw import Timeline

MS = 1_000_000


def report(unprofiled_ns, *, gpu=True, slowdown=1.25, stages=None):
    """Two recorded steps of 10 ms, in each of which the GPU works 6."""
    timeline = Timeline()
    for step in range(2):
        start = 10_000 * step
        timeline.step(step, start, start + 10_000).op("aten::conv2d", start, start + 9_000)
        if gpu:
            timeline.kernel(start, start + 3000).kernel(start + 7000, start + 10_000)
    times = StepTimes(50, 50 * 8 * MS, unprofiled_ns, 10 * MS, slowdown, *(stages or ({}, {})))
    run = Run("run", ("yolo",), "ended", 0, {}, {}, {}, {"train": times}, {})
    return examine(replace(timeline.trace(), run=run, recording={"phase": "train"}))


def test_a_device_idles_less_in_a_step_that_is_not_slowed():
    found = report(8 * MS).unprofiled

    assert (found.step_ns, found.profiled_step_ns, found.slowdown) == (8 * MS, 10 * MS, 1.25)
    (device,) = found.devices
    assert (device.busy_ns, device.idle_ns) == (6 * MS, 2 * MS)
    assert device.idle_share == 0.25
    assert device.profiled_idle_share == pytest.approx(0.4)


def test_work_that_takes_longer_than_the_step_leaves_no_idle_time():
    assert report(5 * MS).unprofiled.devices[0].idle_ns == 0


def test_stages_that_lost_most_come_first():
    stages = ({"forward": 3 * MS, "loss": MS}, {"loss": MS, "forward": 5 * MS, "log": 10})
    rows = report(8 * MS, stages=stages).unprofiled.stages

    assert [(row.stage, row.profiled_ns, row.unprofiled_ns) for row in rows] == [
        ("forward", 5 * MS, 3 * MS),
        ("log", 10, 0),
        ("loss", MS, MS),
    ]


@pytest.mark.parametrize(
    ("slowdown", "gpu", "said"),
    [
        (1.25, True, "Recording slowed the steps by 25 %: without the profiler a step takes 8.00 ms,"),
        (1.25, True, "and the GPU idles about 25 % of it."),
        (1.25, False, "without the profiler a step takes 8.00 ms."),
        (1.01, True, "Recording did not slow the steps"),
        (0.9, False, "What recording costs cannot be told: the recorded steps were faster than the others (8.00 ms)."),
    ],
)
def test_it_is_said_in_a_sentence(slowdown, gpu, said):
    assert said in about_profiling(report(8 * MS, gpu=gpu, slowdown=slowdown))


def test_where_no_other_steps_are_known_nothing_is_said():
    found = report(None, slowdown=None)

    assert found.unprofiled is None
    assert about_profiling(found) is None
