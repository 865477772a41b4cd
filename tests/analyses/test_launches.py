"""Launches, queues, and what follows a wait."""

import pytest

from tbperf.analyses import examine
from tests.draw import Timeline


def test_the_idle_time_after_a_wait_is_told():
    """The wait ends at 50, in a gap that reaches to 80."""
    timeline = Timeline().kernel(0, 45).call("cudaStreamSynchronize", 10, 50).kernel(80, 90, call=(70, 75))

    (sync,) = examine(timeline.trace()).syncs

    assert (sync.host_ns, sync.idle_after_ns) == (40_000, 30_000)


def test_work_without_length_is_counted():
    """Found by damaging traces: a device whose only kernel takes no time is never busy."""
    launches = examine(Timeline().kernel(20, 20, call=(0, 5)).trace()).launches

    assert (launches.calls, launches.unmatched_kernels) == (1, 0)


def test_a_gap_belongs_to_the_last_wait_before_its_end():
    timeline = Timeline().kernel(0, 45).call("cudaStreamSynchronize", 10, 50).call("cudaStreamSynchronize", 52, 60)

    (syncs,) = examine(timeline.kernel(80, 90, call=(70, 75)).trace()).syncs

    assert (syncs.calls, syncs.idle_after_ns) == (2, 10_000 + 20_000)


def test_the_queue_is_measured_over_time():
    """One kernel waits in the first half of the window, none in the second."""
    timeline = Timeline().kernel(0, 50, call=(-5, -2)).kernel(50, 100, call=(-2, 0))

    depth = examine(timeline.trace()).launches.depth

    assert len(depth) == 50
    assert depth[:25] == pytest.approx([1.0] * 25, abs=0.01)
    assert depth[25:] == pytest.approx([0.0] * 25, abs=0.01)


def test_kernels_that_each_find_the_device_idle_make_a_stretch():
    timeline = Timeline().kernel(0, 1)
    for number in range(20):
        start = 10 + 10 * number
        timeline.kernel(start, start + 2, call=(start - 5, start - 1))

    launches = examine(timeline.trace()).launches

    assert (launches.bound_stretches, launches.bound_ns) == (1, 192_000)
    assert (launches.bound_longest_start_ns, launches.bound_longest_ns) == (10_000, 192_000)
