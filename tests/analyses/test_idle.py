"""Every idle nanosecond has exactly one cause, by the rules of the report contract."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbperf.analyses.accounting import account
from tbperf.analyses.idle import attribute
from tests.draw import Timeline

AUTOGRAD = (1, 2)


def causes(timeline):
    return {row.cause: row.idle_ns // 1000 for row in attribute(timeline.trace()).causes}


def test_a_gap_is_cut_at_the_call_that_ends_it():
    """Idle 10–30: Python until the call at 15, the call until 18, then queued."""
    timeline = Timeline().step(1, 0, 100).kernel(0, 10).kernel(30, 40, call=(15, 18))

    assert causes(timeline) == {"python": 5, "launch": 3, "queued": 12}


def test_a_call_that_ended_before_the_gap_leaves_it_queued():
    timeline = Timeline().step(1, 0, 100).kernel(0, 10).kernel(30, 40, call=(2, 5))

    assert causes(timeline) == {"queued": 20}


def test_a_call_that_lasts_beyond_the_start_of_its_work_is_a_launch():
    timeline = Timeline().kernel(0, 10).kernel(30, 40, call=(20, 50))

    assert causes(timeline) == {"unknown": 10, "launch": 10}


@pytest.mark.parametrize(
    ("draw", "cause"),
    [
        (lambda t: t.overhead("Buffer Flush", 10, 20), "profiler"),
        (lambda t: t.call("cudaStreamSynchronize", 10, 20), "sync"),
        (lambda t: t.call("hipDeviceSynchronize", 10, 20), "sync"),
        (lambda t: t.call("cudaMemcpy", 10, 20), "memcpy"),
        (lambda t: t.call("hipMemcpyWithStream", 10, 20), "memcpy"),
        (lambda t: t.copy("HtoD", 8, 9, memory="pageable", call=(10, 20)), "memcpy"),
        (lambda t: t.copy("HtoD", 8, 9, memory="pinned", call=(10, 20)), "launch"),
        (lambda t: t.call("cudaMalloc", 10, 20), "allocation"),
        (lambda t: t.call("cudaHostAlloc", 10, 20), "allocation"),
        (lambda t: t.call("cuModuleLoadData", 10, 20), "module_load"),
        (lambda t: t.python("torch/_inductor/compile_fx.py(5): compile_fx_inner", 10, 20), "module_load"),
        (lambda t: t.call("cudaLaunchKernel", 10, 20), "launch"),
        (lambda t: t.stage("dataload", 10, 20), "dataloader"),
        (lambda t: t.range("enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", 10, 20), "dataloader"),
        (lambda t: t.stage("save", 10, 20), "save"),
        (lambda t: t.stage("plot", 10, 20), "plot"),
        (lambda t: t.stage("validate", 10, 20).stage("inference", 12, 18), "validation"),
        (lambda t: t.op("aten::add", 10, 20), "host_op"),
        (lambda t: t.python("train.py(3): step", 10, 20), "python"),
        (lambda t: t.call("cudaEventQuery", 10, 20), "unknown"),
        (lambda t: t, "unknown"),
    ],
)
def test_before_the_call_the_thread_decides(draw, cause):
    """Idle 10–30, the call at 20 ends at once: the ten before it have the cause, the ten after are queued."""
    timeline = draw(Timeline()).kernel(0, 10).kernel(30, 40, call=(20, 20))

    assert causes(timeline) == {cause: 10, "queued": 10}


def test_causes_have_a_precedence():
    """A synchronization inside an operator inside the wait for a batch inside a step."""
    timeline = (
        Timeline()
        .step(1, 0, 100)
        .stage("dataload", 10, 50)
        .op("aten::copy_", 5, 60)
        .call("cudaStreamSynchronize", 20, 30)
        .kernel(0, 10)
        .kernel(80, 90, call=(80, 80))
    )

    assert causes(timeline) == {"sync": 10, "dataloader": 30, "host_op": 10, "python": 20}


def test_a_launch_of_another_thread_is_explained_by_that_thread_and_then_by_the_main_one():
    timeline = (
        Timeline()
        .step(1, 0, 100)
        .op("aten::wait", 10, 20)
        .op("aten::convolution_backward", 20, 25, thread=AUTOGRAD)
        .kernel(0, 10)
        .kernel(30, 40, call=(30, 30), thread=AUTOGRAD)
    )

    assert causes(timeline) == {"host_op": 15, "python": 5}


def test_a_gap_that_no_known_launch_ends_is_explained_by_the_main_thread():
    timeline = Timeline().step(1, 0, 100).op("aten::add", 10, 20).kernel(0, 10).kernel(30, 40)

    assert causes(timeline) == {"host_op": 10, "python": 10}


def test_the_longest_gaps_tell_their_place_and_what_the_host_did():
    timeline = (
        Timeline()
        .step(7, 0, 100)
        .stage("dataload", 10, 60)
        .kernel(0, 10, name="before")
        .kernel(70, 80, name="after", call=(65, 70))
        .kernel(85, 90, call=(70, 71))
    )

    gap, other = attribute(timeline.trace()).gaps

    assert (gap.dur_ns, gap.cause, gap.cause_ns, gap.step, gap.stage) == (60_000, "dataloader", 50_000, 7, "dataload")
    assert (gap.before, gap.after, gap.host) == ("before", "after", "tbperf/dataload")
    assert (other.dur_ns, other.cause) == (5_000, "queued")


spans = st.tuples(st.integers(0, 60), st.integers(0, 20))
host_events = st.lists(st.tuples(st.sampled_from(["op", "range", "call", "python"]), spans, st.booleans()), max_size=12)
work = st.lists(st.tuples(spans, st.none() | spans, st.booleans()), min_size=1, max_size=10)


@given(work, host_events)
def test_the_causes_of_a_device_sum_to_its_idle_time(work, host):
    timeline = Timeline()
    for (start, length), call, other in work:
        thread = AUTOGRAD if other else (1, 1)
        timeline.kernel(start, start + length, call=call and (call[0], sum(call)), thread=thread)
    for kind, (start, length), other in host:
        name = {"call": "cudaStreamSynchronize", "range": "tbperf/dataload"}.get(kind, "x")
        thread = AUTOGRAD if other else (1, 1)
        getattr(timeline, kind)(name, start, start + length, thread=thread)
    trace = timeline.trace()

    idle = attribute(trace)

    (device,) = account(trace)
    assert sum(row.idle_ns for row in idle.causes) == device.idle_ns
    assert sum(gap.dur_ns for gap in idle.gaps) == device.idle_ns
