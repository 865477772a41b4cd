"""Each nanosecond of a step is of exactly one sort of work: drawn by hand, and against an oracle of single moments."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbperf import analyze
from tbperf.analyses import examine
from tbperf.analyses.idle import loads_in_process
from tests.draw import Timeline

AUTOGRAD = (1, 2)
SAMPLES = sorted(path.parent for path in (Path(__file__).parents[2] / "sample_traces").rglob("run.json"))


def work_of(timeline):
    return {row.work: row.host_ns // 1000 for row in examine(timeline.trace()).host_work}


def step():
    """One step of 100 µs of a training that waits for its batch and runs backward on a thread of its own."""
    timeline = Timeline().step(1, 0, 100).stage("dataload", 0, 10).stage("forward", 10, 50)
    timeline.op("aten::conv2d", 12, 40).op("aten::empty", 20, 22).op("aten::copy_", 30, 35)
    timeline.stage("backward", 50, 80).op("ConvolutionBackward0", 55, 70, thread=AUTOGRAD)
    return timeline.stage("optimizer", 80, 95).op("aten::mul_", 82, 90)


def test_a_step_is_split_by_what_the_loop_does_or_waits_for():
    assert work_of(step()) == {
        "convolution": 38,
        "python": 24,
        "waiting for a thread": 15,
        "waiting for a batch": 10,
        "optimizer": 8,
        "cast and copy": 5,
    }


def test_stages_and_steps_say_the_same():
    found = examine(step().trace())

    stages = {row.stage: {work: ns // 1000 for work, ns in row.work.items()} for row in found.stages}
    assert stages["backward"] == {"convolution": 15, "waiting for a thread": 15}
    assert stages["forward"] == {"convolution": 23, "python": 12, "cast and copy": 5}
    assert stages[None] == {"python": 5}
    assert found.steps[0].work == {row.work: row.host_ns for row in found.host_work}


def test_backward_in_the_loop_s_own_thread_waits_for_nobody():
    timeline = Timeline().step(1, 0, 100).stage("backward", 0, 100).op("ConvolutionBackward0", 10, 60)

    assert work_of(timeline) == {"convolution": 50, "autograd": 50}


def test_other_threads_do_not_count_outside_of_the_backward_pass():
    timeline = Timeline().step(1, 0, 100).stage("forward", 0, 100).op("MulBackward0", 10, 60, thread=AUTOGRAD)

    assert work_of(timeline) == {"python": 100}


def test_views_count_for_what_they_are_part_of():
    timeline = Timeline().step(1, 0, 30).op("aten::linear", 0, 10).op("aten::t", 2, 4).op("aten::view", 20, 25)

    assert work_of(timeline) == {"matrix product": 10, "python": 15, "views and allocation": 5}


def test_a_program_that_loads_itself_does_not_wait():
    timeline = Timeline().step(1, 0, 100).stage("dataload", 0, 60).stage("fetch", 5, 55).op("aten::stack", 50, 54)

    assert work_of(timeline) == {"loading a batch": 60, "python": 40}


def test_calls_of_the_runtime_stand_before_the_operator_around_them():
    """A GPU that the recorder could not see: how long the host waits for it is known all the same."""
    timeline = Timeline().step(1, 0, 100).op("aten::conv2d", 0, 50)
    timeline.call("cudaLaunchKernel", 10, 15).call("cudaStreamSynchronize", 20, 50)

    assert work_of(timeline) == {
        "python": 50,
        "waiting for the GPU": 30,
        "convolution": 15,
        "calls of the GPU's runtime": 5,
    }


def test_the_longest_stretch_leads_to_the_timeline():
    (row,) = [row for row in examine(step().trace()).host_work if row.work == "convolution"]

    assert (row.longest_ns, row.longest_start_ns) == (18_000, 12_000)


_OPERATORS = {
    "aten::conv2d": "convolution",
    "aten::silu": "activation",
    "aten::copy_": "cast and copy",
    "aten::view": "views and allocation",
    "mylib::thing": "other operators",
}
_VAGUE = ("views and allocation", "other operators")
_SPAN = st.tuples(st.integers(0, 90), st.integers(1, 40))


def _open(spans, moment):
    return [(start, name) for name, start, length in spans if start <= moment < start + length]


def expected(moment, stage, ops, calls, helpers):
    """Say what the loop did in one microsecond."""
    if stage == "dataload":
        return "waiting for a batch"
    running = _open(calls, moment)
    if any(name == "cudaDeviceSynchronize" for _, name in running):
        return "waiting for the GPU"
    if running:
        return "calls of the GPU's runtime"
    sort = _sort_at(ops, moment)
    if sort:
        return "optimizer" if stage == "optimizer" else sort
    if stage == "backward":
        return _sort_at(helpers, moment) or ("waiting for a thread" if helpers else "autograd")
    return "python"


def _sort_at(ops, moment):
    running = [(start, _OPERATORS[name]) for start, name in _open(ops, moment)]
    told = [(start, sort) for start, sort in running if sort not in _VAGUE]
    return max(told or running, default=(0, None))[1]


@st.composite
def _calls(draw, names):
    """Draw calls that begin at different moments."""
    spans = draw(st.lists(_SPAN, max_size=6, unique_by=lambda span: span[0]))
    return [(draw(st.sampled_from(names)), start, min(length, 100 - start)) for start, length in spans]


@given(
    cuts=st.lists(st.integers(1, 99), max_size=4, unique=True).map(sorted),
    stages=st.lists(st.sampled_from(["dataload", "forward", "backward", "optimizer", None]), min_size=5, max_size=5),
    ops=_calls(list(_OPERATORS)),
    calls=_calls(["cudaLaunchKernel", "cudaDeviceSynchronize"]),
    helpers=_calls(list(_OPERATORS)),
)
def test_every_moment_has_the_work_that_the_rules_say(cuts, stages, ops, calls, helpers):
    timeline = Timeline().step(1, 0, 50).step(2, 50, 100)
    edges = [0, *cuts, 100]
    stage_at = {}
    for start, end, stage in zip(edges, edges[1:], stages, strict=False):
        if stage is not None:
            timeline.stage(stage, start, end)
        stage_at |= dict.fromkeys(range(start, end), stage)
    for name, start, length in ops:
        timeline.op(name, start, start + length)
    for name, start, length in calls:
        timeline.call(name, start, start + length)
    # A node of the graph makes it autograd's thread; outside of the steps it says nothing else.
    if helpers:
        timeline.op("MulBackward0", 200, 201, thread=AUTOGRAD)
    for name, start, length in helpers:
        timeline.op(name, start, start + length, thread=AUTOGRAD)
    trace = timeline.trace()
    itself = loads_in_process(trace)

    found = examine(trace)

    for number, first in ((0, 0), (1, 50)):
        sums = {}
        for moment in range(first, first + 50):
            work = expected(moment, stage_at[moment], ops, calls, helpers)
            work = "loading a batch" if itself and work == "waiting for a batch" else work
            sums[work] = sums.get(work, 0) + 1000
        assert dict(found.steps[number].work) == sums
    for row in found.stages:
        assert sum(row.work.values()) == row.host_ns
    assert sum(row.host_ns for row in found.host_work) == 100_000
    assert all(sum(row.stage.values()) == row.host_ns for row in found.host_work)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_real_recordings_are_split_to_the_nanosecond(sample):
    for trace in analyze(sample).traces:
        assert all(sum(step.work.values()) == step.dur_ns for step in trace.steps)
        assert all(sum(stage.work.values()) == stage.host_ns for stage in trace.stages)
        assert sum(row.host_ns for row in trace.host_work) == sum(step.dur_ns for step in trace.steps)
        assert sum(row.share for row in trace.host_work) == pytest.approx(1)
        assert sum(row.share for row in trace.operators) == pytest.approx(1)
        assert "unknown" not in {row.work for row in trace.host_work}
        assert sum(row.host_ns for row in trace.host_work if row.work == "other operators") == 0
        assert trace.host_work[0].work == "convolution"
