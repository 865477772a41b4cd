"""Copies one by one."""

from tbperf.analyses import examine
from tests.draw import Timeline


def test_the_dearest_copies_are_described():
    timeline = (
        Timeline()
        .step(3, 0, 2000)
        .stage("preprocess", 0, 300)
        .op("aten::to", 5, 300)
        .kernel(0, 10)
        .copy("HtoD", 20, 120, memory="pageable", size=2_000_000, call=(10, 200))
        .copy("HtoD", 300, 350, memory="pinned", size=2_000_000, call=(210, 215))
        .kernel(300, 350, stream=9)
    )

    pageable, pinned = examine(timeline.trace()).copies

    assert (pageable.copy_kind, pageable.host_memory, pageable.bytes) == ("HtoD", "pageable", 2_000_000)
    assert (pageable.exposed_ns, pageable.host_blocked_ns) == (100_000, 190_000)
    assert (pageable.bytes_per_s, pageable.of_best) == (2e10, 0.5)
    assert (pageable.step, pageable.stage, pageable.op) == (3, "preprocess", "aten::to")
    assert (pinned.exposed_ns, pinned.of_best) == (0, 1.0)


def test_a_copy_could_overlap_with_a_kernel_that_waits_on_another_stream():
    """The kernel on stream 9 was launched at 12, and begins at 120, when the copy is done."""
    timeline = (
        Timeline()
        .kernel(0, 10)
        .copy("HtoD", 20, 120, memory="pinned", call=(10, 11))
        .kernel(120, 130, stream=9, call=(11, 12))
    )

    (copy,) = examine(timeline.trace()).copies

    assert copy.could_overlap_ns == 100_000
