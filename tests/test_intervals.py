"""Spans and tilings against an oracle: a set of integers, or a dictionary from integer to label."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tbperf.intervals import NOTHING, Lanes, Minima, Spans, Tiling, Tilings, distinct, sum_by

pairs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=12)


def arrays(pairs):
    start = np.array([s for s, _ in pairs], np.int64)
    return start, start + np.array([d for _, d in pairs], np.int64)


def spans_of(pairs):
    return Spans.merged(*arrays(pairs))


def ticks(spans):
    return {t for s, e in zip(spans.start, spans.end, strict=True) for t in range(s, e)}


def labels(tiling):
    return {t: label for s, e, label in zip(tiling.start, tiling.end, tiling.label, strict=True) for t in range(s, e)}


def is_canonical(spans):
    return (spans.end > spans.start).all() and (spans.start[1:] >= spans.end[:-1]).all()


@given(pairs)
def test_merged_spans_are_sorted_disjoint_and_keep_every_tick(pairs):
    spans = spans_of(pairs)

    assert ticks(spans) == {t for s, d in pairs for t in range(s, s + d)}
    assert is_canonical(spans)
    assert (spans.start[1:] > spans.end[:-1]).all()


@given(pairs, pairs)
def test_operators_are_set_operators(a, b):
    a, b = spans_of(a), spans_of(b)

    assert ticks(a | b) == ticks(a) | ticks(b)
    assert ticks(a - b) == ticks(a) - ticks(b)
    assert ticks(a & b) == ticks(a) & ticks(b)
    assert is_canonical(a - b)
    assert is_canonical(a & b)


@given(pairs, st.integers(0, 60), st.integers(0, 60))
def test_gaps_and_spans_partition_the_window(pairs, lo, hi):
    spans = spans_of(pairs)

    assert ticks(spans.gaps(lo, hi)) == set(range(lo, hi)) - ticks(spans)
    assert ticks(spans.within(lo, hi)) == ticks(spans) & set(range(lo, hi))


@given(pairs, pairs)
def test_time_within_many_windows_is_measured_at_once(spans, windows):
    spans, (start, end) = spans_of(spans), arrays(windows)

    assert spans.total_within(start, end).tolist() == [
        len(ticks(spans) & set(range(s, e))) for s, e in zip(start, end, strict=True)
    ]


nested = st.recursive(
    st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda gap: [(gap[0], [], gap[1])]),
    lambda inner: st.lists(st.tuples(st.integers(0, 3), inner, st.integers(0, 3)), min_size=1, max_size=4),
    max_leaves=12,
)


def lay_out(calls, now=0):
    """Turn a tree of (wait before, inner calls, own time after) into spans in call order."""
    spans = []
    for before, inner, after in calls:
        now += before
        begin = now
        below, now = lay_out(inner, now)
        now += after
        spans += [(begin, now), *below]
    return spans, now


@given(nested)
def test_the_innermost_call_owns_each_moment(calls):
    """With equal times the later listed, deeper call wins: calls come in call order."""
    spans, _ = lay_out(calls)
    start = np.array([s for s, _ in spans], np.int64)
    end = np.array([e for _, e in spans], np.int64)

    owner = labels(Tiling.innermost(start, end))

    expected = {}
    for index, (s, e) in enumerate(spans):
        for t in range(s, e):
            expected[t] = index
    assert owner == expected


@given(pairs)
def test_where_spans_cross_the_one_opened_last_owns_the_moment(pairs):
    start, end = arrays(pairs)

    tiling = Tiling.innermost(start, end)

    expected = {}
    for index in sorted(range(len(pairs)), key=lambda i: (start[i], -end[i])):
        for t in range(start[index], end[index]):
            expected[t] = index
    assert {t: (start[i], end[i]) for t, i in labels(tiling).items()} == {
        t: (start[i], end[i]) for t, i in expected.items()
    }
    assert is_canonical(tiling)


@given(st.lists(pairs, max_size=4))
def test_the_first_layer_that_covers_a_moment_labels_it(layers):
    tiling = Tiling.first_of((i, spans_of(p)) for i, p in enumerate(layers))

    expected = {}
    for i, layer in reversed(list(enumerate(layers))):
        expected.update(dict.fromkeys(ticks(spans_of(layer)), i))
    assert labels(tiling) == expected
    assert is_canonical(tiling)
    assert tiling.total_ns_by_label(len(layers)).tolist() == [
        sum(label == i for label in expected.values()) for i in range(len(layers))
    ]


@given(st.lists(pairs, max_size=3), pairs, st.lists(st.integers(0, 60), max_size=9))
def test_a_tiling_is_looked_up_and_cut(layers, window, moments):
    tiling = Tiling.first_of((i, spans_of(p)) for i, p in enumerate(layers))
    window = spans_of(window)
    truth = labels(tiling)

    at = tiling.at(np.array(moments, np.int64)).tolist()

    assert at == [truth.get(t, NOTHING) for t in moments]
    assert labels(tiling.within(window)) == {t: v for t, v in truth.items() if t in ticks(window)}


@given(st.lists(pairs, max_size=4))
def test_joining_pieces_changes_no_moment(layers):
    tiling = Tiling.first_of((i // 2, spans_of(p)) for i, p in enumerate(layers))

    joined = tiling.joined()

    assert labels(joined) == labels(tiling)
    touching = joined.start[1:] == joined.end[:-1]
    assert not (touching & (joined.label[1:] == joined.label[:-1])).any()


FAR = 2**60
"""A moment so far away that few lines of such a length can be laid end to end."""
on_lanes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.integers(0, 12)), max_size=12)


def lane_arrays(rows, far):
    lane = np.array([lane for lane, _, _ in rows], np.int32)
    start, end = arrays([(s, d) for _, s, d in rows])
    move = lambda times: np.where(times > 20, times + far, times)  # noqa: E731 - one expression
    return lane, move(start), move(end)


@given(on_lanes, st.sampled_from([0, FAR]), st.lists(st.tuples(st.integers(0, 6), st.integers(-5, 60)), max_size=9))
def test_many_lines_are_tiled_at_once_as_each_by_itself(rows, far, moments):
    lane, start, end = lane_arrays(rows, far)
    asked = np.array([number for number, _ in moments], np.int64)
    times = np.array([time for _, time in moments], np.int64)

    together = Tilings.innermost(lane, start, end)

    for number in range(7):
        mine = np.flatnonzero(lane == number)
        alone = Tiling.innermost(start[mine], end[mine])
        of_lane = together.of(number)
        assert of_lane.start.tolist() == alone.start.tolist()
        assert of_lane.end.tolist() == alone.end.tolist()
        assert of_lane.label.tolist() == mine[alone.label].tolist()
    found = together.at(asked, times).tolist()
    assert found == [int(together.of(n).at(np.array([t]))[0]) for n, t in moments]


@given(on_lanes, st.sampled_from([0, FAR]))
def test_of_several_lines_the_first_that_has_a_label_gives_it(rows, far):
    together = Tilings.innermost(*lane_arrays(rows, far))

    stacked = together.stacked()

    edges = sorted({0, *together.start.tolist(), *together.end.tolist()})
    moments = np.array([moment + by for moment in edges for by in (-1, 0, 1)], np.int64)
    answers = [together.of(number).at(moments).tolist() for number in range(5)]
    expected = [next((label for label in labels if label >= 0), NOTHING) for labels in zip(*answers, strict=True)]
    assert stacked.at(moments).tolist() == expected
    assert is_canonical(stacked)


@given(on_lanes, st.sampled_from([0, FAR]))
def test_what_overlaps_is_merged_on_its_own_line_only(rows, far):
    lane, start, end = lane_arrays(rows, far)
    lanes = Lanes(5, start, end)

    merged = lanes.merged(lane, start, end)

    for number in range(5):
        alone = Spans.merged(start[lane == number], end[lane == number])
        mine = lanes.lane(merged.start) == number
        assert lanes.times(merged.start[mine]).tolist() == alone.start.tolist()
        assert lanes.times(merged.end[mine]).tolist() == alone.end.tolist()


@given(
    st.lists(st.integers(-9, 9), max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(-10, 10)), max_size=20),
)
def test_minima_of_stretches_and_the_last_small_value(values, asked):
    tree = Minima(np.array(values, np.int64))
    low, high = (np.minimum(np.array([a[i] for a in asked], np.int64), len(values)) for i in (0, 1))
    most = np.array([a[2] for a in asked], np.int64)

    smallest, last = tree.smallest(low, high).tolist(), tree.last_at_most(high, most).tolist()

    assert smallest == [
        min(values[a:b], default=np.iinfo(np.int64).max) for a, b in zip(low.tolist(), high.tolist(), strict=True)
    ]
    assert last == [
        max((i for i, value in enumerate(values[:b]) if value <= m), default=NOTHING)
        for b, m in zip(high.tolist(), most.tolist(), strict=True)
    ]


def test_sums_by_group_are_exact_integers():
    big = 2**52 + 1

    assert sum_by(np.array([1, 0, 1]), np.array([1, big, 2]), 3).tolist() == [big, 3, 0]


@given(st.lists(st.tuples(*[st.sampled_from([0, 1, 5, -3, 2**40, -(2**62), 2**62])] * 3), max_size=20))
def test_distinct_tuples_and_where_they_are(rows):
    columns = [np.array([row[i] for row in rows], np.int64) for i in range(3)]

    found, at = distinct(*columns)

    assert [found[place] for place in at.tolist()] == rows
    assert len(set(found)) == len(found) == len(set(rows))
