"""Spans and tilings against an oracle: a set of integers, or a dictionary from integer to label."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tbperf.intervals import NOTHING, Spans, Tiling, distinct, sum_by

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


def test_sums_by_group_are_exact_integers():
    big = 2**52 + 1

    assert sum_by(np.array([1, 0, 1]), np.array([1, big, 2]), 3).tolist() == [big, 3, 0]


@given(st.lists(st.tuples(*[st.sampled_from([0, 1, 5, -3, 2**40, -(2**62), 2**62])] * 3), max_size=20))
def test_distinct_tuples_and_where_they_are(rows):
    columns = [np.array([row[i] for row in rows], np.int64) for i in range(3)]

    found, at = distinct(*columns)

    assert [found[place] for place in at.tolist()] == rows
    assert len(set(found)) == len(found) == len(set(rows))
