"""The timeline document: all of a small trace exactly; of a large one nothing lost, and what matters exactly."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbperf.analyses.examine import examine
from tbperf.render.timeline import _varints, timeline
from tests.draw import Timeline


def decoded(document, kind):
    """Rows of the first track of a kind: (lane, start, duration, name, sort, count, covered)."""
    track = next(track for track in document["tracks"] if track["kind"] == kind)
    numbers = unpacked(zlib.decompress(base64.b64decode(track["columns"])))
    assert len(numbers) == 7 * track["rows"]
    lane, start, dur, name, sort, merged, uncovered = np.array(numbers).reshape(7, -1).tolist()
    texts = json.loads(zlib.decompress(base64.b64decode(document["names"])))
    rows, before = [], {}
    for at in range(track["rows"]):
        begin = before.get(lane[at], document["start_ns"]) + start[at]
        before[lane[at]] = begin
        names, sorts = texts[name[at]], document["sorts"][sort[at]]
        rows.append((lane[at], begin, dur[at], names, sorts, merged[at] + 1, dur[at] - uncovered[at]))
    return rows


def unpacked(data):
    numbers, value, factor = [], 0, 1
    for byte in data:
        value += (byte & 0x7F) * factor
        factor *= 128
        if byte < 128:
            numbers.append(value)
            value, factor = 0, 1
    return numbers


@given(st.lists(st.integers(0, 2**62)))
def test_numbers_come_back_as_they_were(numbers):
    assert unpacked(_varints(np.array(numbers, np.int64))) == numbers


SMALL = (
    Timeline()
    .step(1, 0, 100)
    .stage("dataload", 0, 40)
    .stage("forward", 40, 100)
    .op("outer", 41, 60)
    .op("inner", 42, 50)
    .op("instant", 42, 42)
    .kernel(60, 70, name="a", call=(45, 48))
    .copy("HtoD", 80, 95, call=(55, 58), stream=9)
)


def test_a_small_trace_is_there_exactly():
    document = timeline(SMALL.trace())

    assert decoded(document, "stream") == [(0, 60_000, 10_000, "a", "kernel", 1, 10_000)]
    assert [(row[1], row[2], row[3]) for row in decoded(document, "stages")] == [
        (0, 40_000, "dataload"),
        (40_000, 60_000, "forward"),
    ]
    assert document["rows"] == document["events"]
    assert json.dumps(document)


def test_lanes_show_what_is_inside_what():
    rows = decoded(timeline(SMALL.trace()), "thread")

    lanes = {(row[3], row[1]): row[0] for row in rows}
    assert lanes["ProfilerStep#1", 0] == 0
    assert lanes["tbperf/forward", 40_000] == 1
    assert lanes["outer", 41_000] == 2
    assert lanes["inner", 42_000] == 3
    assert lanes["instant", 42_000] == 4
    assert lanes["cudaLaunchKernel", 45_000] == 4
    assert lanes["cudaMemcpyAsync", 55_000] == 3


def test_idle_rows_are_the_ledger():
    trace = SMALL.trace()
    rows = decoded(timeline(trace), "idle")

    by_cause = {}
    for _, _, dur, cause, sort, _, _ in rows:
        assert sort == f"idle: {cause}"
        by_cause[cause] = by_cause.get(cause, 0) + dur
    assert by_cause == {row.cause: row.idle_ns for row in examine(trace).idle}


def busy_loop(steps):
    """Many short kernels, one long gap, one kernel of a name of its own."""
    drawn = Timeline()
    for step in range(steps):
        at = step * 1000
        drawn.step(step, at, at + 1000)
        for i in range(40):
            drawn.kernel(at + 20 * i, at + 20 * i + 7, name=f"k{i % 3}", call=(at + 20 * i - 5, at + 20 * i - 2))
    return drawn.kernel(steps * 1000 + 500, steps * 1000 + 503, name="last", call=(0, 1))


@pytest.mark.parametrize("budget", [100, 300, 1000])
def test_in_a_large_trace_nothing_is_lost(budget):
    trace = busy_loop(30).trace()
    whole, merged = timeline(trace), timeline(trace, rows=budget)

    assert merged["rows"] < merged["events"] == whole["rows"] == whole["events"]
    for kind in ("stream", "idle", "thread"):
        exact, fewer = decoded(whole, kind), decoded(merged, kind)
        assert sum(row[5] for row in fewer) == len(exact)
        assert sum(row[6] for row in fewer) == sum(row[2] for row in exact)
        assert min(row[1] for row in fewer) == min(row[1] for row in exact)
        assert max(row[1] + row[2] for row in fewer) == max(row[1] + row[2] for row in exact)


def test_in_a_large_trace_what_matters_is_exact():
    trace = busy_loop(30).trace()
    document = timeline(trace, rows=400)
    exact = {row[1:4] for row in decoded(timeline(trace), "stream")}
    alone = {row[1:4] for row in decoded(document, "stream") if row[5] == 1}

    assert alone <= exact
    assert len(decoded(document, "steps")) == 30
    assert {"k0", "k1", "k2", "last"} <= {name for *_, name in alone}
    gap = examine(trace).gaps[0]
    assert (30_500_000, 3_000, "last") in alone
    assert any(start + dur == gap.start_ns for start, dur, _ in alone)
    typical = trace.steps.start_ns[15], trace.steps.end_ns[15]
    assert sum(1 for row in alone if typical[0] <= row[0] < typical[1]) == 40
    idle = [row for row in decoded(document, "idle") if gap.start_ns <= row[1] < gap.start_ns + gap.dur_ns]
    assert sum(row[2] for row in idle) == gap.dur_ns


def test_what_was_measured_over_time_is_thinned_and_keeps_its_peak():
    drawn = Timeline().kernel(0, 10).step(0, 0, 10_000)
    for at in range(5000):
        drawn.sample(at, "power_watts", 400 if at == 1234 else 100, device=0)
    (counter,) = timeline(drawn.trace())["counters"]

    assert (counter["label"], counter["unit"]) == ("power 0", "W")
    assert len(counter["values"]) <= 600
    assert counter["times"][counter["values"].index(400)] == 1_234_000


def test_a_trace_without_anything_has_a_timeline_of_nothing():
    document = timeline(Timeline().trace())

    assert document["tracks"] == []
    assert document["start_ns"] == document["end_ns"] == 0
