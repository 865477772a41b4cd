"""Every nanosecond of a device has exactly one owner."""

from hypothesis import given
from hypothesis import strategies as st

from tbperf.analyses.accounting import DeviceTime, account
from tests.draw import Timeline


def shares(row):
    return row.compute_ns + row.exposed_comm_ns + row.exposed_memcpy_ns + row.exposed_memset_ns + row.idle_ns


def test_a_copy_under_a_kernel_is_hidden_and_the_rest_is_exposed():
    trace = Timeline().kernel(0, 10).copy("HtoD", 5, 20, stream=8).trace()

    assert account(trace) == (
        DeviceTime(
            device=0,
            window_ns=20_000,
            busy_ns=20_000,
            idle_ns=0,
            compute_ns=10_000,
            exposed_comm_ns=0,
            exposed_memcpy_ns=10_000,
            exposed_memset_ns=0,
            kernel_ns=10_000,
            kernels=1,
            memcpys=1,
            memsets=0,
            gaps=0,
        ),
    )


def test_owners_come_in_the_order_compute_collectives_copies_memsets():
    trace = (
        Timeline()
        .kernel(0, 10)
        .kernel(5, 20, name="ncclDevKernel_AllReduce_Sum_f32_RING_LL", stream=8)
        .copy("DtoH", 15, 30, stream=9)
        .memset(25, 40, stream=10)
        .kernel(50, 60)
        .trace()
    )

    (row,) = account(trace)

    assert (row.compute_ns, row.exposed_comm_ns, row.exposed_memcpy_ns, row.exposed_memset_ns) == (
        20_000,
        10_000,
        10_000,
        10_000,
    )
    assert (row.idle_ns, row.gaps) == (10_000, 1)


def test_idle_is_counted_per_device_and_a_quiet_stream_is_not_idle():
    trace = Timeline().kernel(0, 10, stream=1).kernel(10, 20, stream=2).kernel(0, 5, device=1).trace()

    first, second = account(trace)

    assert (first.device, first.idle_ns, second.device, second.window_ns) == (0, 0, 1, 5_000)


def test_an_event_without_length_counts_and_makes_no_gap():
    trace = Timeline().kernel(0, 10).kernel(10, 10).kernel(10, 20).trace()

    (row,) = account(trace)

    assert (row.kernels, row.gaps, row.idle_ns) == (3, 0, 0)


work = st.tuples(
    st.sampled_from(["kernel", "ncclKernel", "copy", "memset"]),
    st.integers(0, 50),
    st.integers(0, 20),
    st.integers(0, 1),
)


@given(st.lists(work, min_size=1, max_size=20))
def test_the_five_shares_sum_to_the_window(events):
    timeline = Timeline()
    owner_of = {}
    for kind, start, length, device in events:
        end = start + length
        if kind == "copy":
            timeline.copy("DtoH", start, end, device=device)
        elif kind == "memset":
            timeline.memset(start, end, device=device)
        else:
            timeline.kernel(start, end, name=kind, device=device)
    for kind in ("memset", "copy", "ncclKernel", "kernel"):
        for _, start, length, device in (e for e in events if e[0] == kind):
            owner_of.update(dict.fromkeys(((device, t) for t in range(start, start + length)), kind))

    for row in account(timeline.trace()):
        assert shares(row) == row.window_ns
        assert row.busy_ns + row.idle_ns == row.window_ns
        mine = [kind for (device, _), kind in owner_of.items() if device == row.device]
        assert row.compute_ns == 1000 * mine.count("kernel")
        assert row.exposed_comm_ns == 1000 * mine.count("ncclKernel")
        assert row.exposed_memcpy_ns == 1000 * mine.count("copy")
        assert row.exposed_memset_ns == 1000 * mine.count("memset")
