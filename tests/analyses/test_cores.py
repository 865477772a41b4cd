"""Threads at once, cores in use, and images a second, from what traces and run folders tell."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbperf.analyses import examine
from tbperf.trace import Run, StepAccount
from tests.draw import Timeline

HELPER = (1, 2)


def run(**hardware):
    """Return the account of a run on a machine like this."""
    return Run("folder", ("yolo",), "ended", 0, {}, hardware, {}, {}, {})


def at_once(timeline):
    return {row.threads: row.host_ns // 1000 for row in examine(timeline.trace()).threads_at_once}


def test_threads_at_work_are_counted_over_the_time_of_the_steps():
    """The loop waits 10 of 100 µs for its batch while a worker loads, and another thread computes for 30."""
    timeline = Timeline().step(1, 0, 100).stage("dataload", 0, 10).stage("forward", 10, 100).op("aten::conv2d", 20, 90)
    timeline.loaded("fetch", 5, 25).op("aten::add", 60, 90, thread=HELPER).op("aten::add", 200, 300, thread=HELPER)

    assert at_once(timeline) == {0: 5, 1: 50, 2: 45}
    assert examine(timeline.trace()).cores.mean_threads == pytest.approx(1.4)


def test_what_the_program_loads_itself_is_no_thread_of_its_own():
    timeline = Timeline().step(1, 0, 100).stage("fetch", 0, 50)
    trace = timeline.range("loader/fetch", 0, 50, thread=(1, "loader")).trace()

    assert [row.threads for row in examine(trace).threads_at_once] == [1]


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 99), st.integers(1, 50)),
        max_size=12,
    )
)
def test_threads_at_once_sum_to_the_steps(spans):
    """Against counting, moment by moment, the threads that are in an operator; the loop always works."""
    timeline = Timeline().step(1, 0, 60).step(2, 60, 100)
    for thread, start, length in spans:
        timeline.op("aten::add", start, start + length, thread=(1, 1 + thread))
    busy = [{thread for thread, start, length in spans if start <= at < start + length} for at in range(100)]

    found = at_once(timeline)

    assert found == {n: sum(len(here) + 1 == n for here in busy) for n in {len(here) + 1 for here in busy}}
    assert sum(found.values()) == 100


def test_processor_time_and_load_are_held_against_the_cores_of_the_process():
    timeline = Timeline().step(1, 0, 100).step(2, 100, 200).op("aten::conv2d", 0, 200)
    timeline.sample(50, "cpu_percent", 50.0).sample(150, "cpu_percent", 100.0)
    accounts = {1: StepAccount(8, 150_000, 90_000, 5_000), 2: StepAccount(8, 50_000, 40_000, 10_000)}
    trace = replace(
        timeline.trace(),
        run=run(cores=8, usable_cores=4, core_quota=1.5),
        recording={"threads": {"intra_op": 7, "inter_op": 8, "usable_cores": 3}},
        accounts=accounts,
    )

    cores = examine(trace).cores

    assert (cores.intra_op_threads, cores.usable_cores, cores.machine_cores) == (7, 1.5, 8)
    assert cores.used_cores == pytest.approx(1.0)
    assert cores.machine_used_cores == pytest.approx(6.0)
    assert (cores.main_cpu_ns, cores.main_queued_ns) == (130_000, 15_000)
    assert [step.cpu_ns for step in examine(trace).steps] == [150_000, 50_000]


def test_what_was_not_recorded_of_every_step_is_null_and_not_zero():
    timeline = Timeline().step(1, 0, 100).step(2, 100, 200)
    trace = replace(timeline.trace(), accounts={1: StepAccount(8, 150_000, 90_000, None)})

    found = examine(trace)

    assert found.cores.used_cores is None
    assert found.cores.main_queued_ns is None
    assert found.cores.usable_cores is None
    assert found.speed is None
    assert "how many images a step had was not recorded" in {s.reason for s in found.skipped if s.analysis == "speed"}


def test_an_image_costs_its_part_of_the_step():
    timeline = Timeline().step(1, 0, 100).stage("preprocess", 0, 10).stage("inference", 10, 70)
    timeline.stage("postprocess", 70, 90).stage("nms", 72, 88).step(2, 100, 150).stage("inference", 100, 140)
    trace = replace(timeline.trace(), accounts={1: StepAccount(4), 2: StepAccount(1)})

    speed = examine(trace).speed

    assert (speed.images, speed.batch, speed.image_ns) == (5, 2.5, 30_000)
    assert speed.images_per_s == pytest.approx(5 / 150e-6)
    assert speed.printed_ns == {"preprocess": 2_000, "inference": 20_000, "postprocess": 4_000}
    assert speed.stage["nms"] == 3_200


def test_a_stage_names_the_step_in_which_it_took_most():
    timeline = Timeline().step(1, 0, 100).stage("nms", 0, 20).step(2, 100, 200).stage("nms", 150, 200)

    (row,) = [row for row in examine(timeline.trace()).stages if row.stage == "nms"]

    assert (row.most_ns, row.most_step) == (50_000, 2)
