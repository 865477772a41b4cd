"""Set algebra over half-open time spans, in integer nanoseconds.

Questions about a timeline come in two kinds.  *When* was something on?  `Spans`: merge what overlaps, take the
complement inside a window, measure.  *What* was on at each moment?  `Tiling`: cut time into disjoint labelled pieces,
by who is innermost or by who comes first in a list of priorities, then look moments up or measure labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

Ns: TypeAlias = npt.NDArray[np.int64]
"""Moments or durations, int64 nanoseconds, one dimension."""

NOTHING = -1
"""The label of a moment that no piece of a tiling covers."""


@dataclass(frozen=True)
class Spans:
    """Sorted, disjoint, non-empty half-open spans ``[start, end)``."""

    start: Ns
    end: Ns

    @classmethod
    def merged(cls, start: Ns, end: Ns) -> Spans:
        """Merge overlapping and touching spans; empty ones vanish."""
        solid = end > start
        if not solid.all():
            start, end = start[solid], end[solid]
        if not start.size:
            return cls(start, end)
        if (start[1:] < start[:-1]).any():
            order = np.argsort(start, kind="stable")
            start, end = start[order], end[order]
        reach = np.maximum.accumulate(end)
        opens = np.r_[True, start[1:] > reach[:-1]]
        return cls(start[opens], reach[np.r_[opens[1:], True]])

    @classmethod
    def empty(cls) -> Spans:
        """No time at all."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def one(cls, start: int, end: int) -> Spans:
        """One span; none where it would be empty."""
        return cls.merged(np.array([start], np.int64), np.array([end], np.int64))

    def within(self, start: int, end: int) -> Spans:
        """Clip to a window."""
        first = int(np.searchsorted(self.end, start, side="right"))
        last = max(first, int(np.searchsorted(self.start, end, side="left")))
        return Spans(np.maximum(self.start[first:last], start), np.minimum(self.end[first:last], end))

    def gaps(self, start: int, end: int) -> Spans:
        """Return the complement inside a window."""
        if end <= start:
            return Spans.empty()
        inside = self.within(start, end)
        return Spans.merged(np.r_[start, inside.end], np.r_[inside.start, end])

    def __or__(self, other: Spans) -> Spans:
        return Spans.merged(np.r_[self.start, other.start], np.r_[self.end, other.end])

    def __and__(self, other: Spans) -> Spans:
        """Keep the time that both cover: each pair of spans that meet gives one piece."""
        first = np.searchsorted(other.end, self.start, side="right")
        count = np.searchsorted(other.start, self.end, side="left") - first
        mine = np.repeat(np.arange(len(self)), count)
        theirs = np.arange(mine.size) - np.repeat(np.cumsum(count) - count, count) + first[mine]
        return Spans(
            np.maximum(self.start[mine], other.start[theirs]),
            np.minimum(self.end[mine], other.end[theirs]),
        )

    def __sub__(self, other: Spans) -> Spans:
        if not len(self) or not len(other):
            return self
        return self & other.gaps(int(self.start[0]), int(self.end[-1]))

    def __len__(self) -> int:
        return int(self.start.size)

    @property
    def dur(self) -> Ns:
        """Length of each span."""
        return self.end - self.start

    @property
    def total_ns(self) -> int:
        """Time covered."""
        return int(self.dur.sum())

    def covered_before(self, times: Ns) -> Ns:
        """Return how much of the time before each moment is covered."""
        done = np.r_[0, np.cumsum(self.dur)]
        index = np.searchsorted(self.start, times, side="right")
        running = np.minimum(times, np.r_[0, self.end][index]) - np.r_[0, self.start][index]
        return np.where(index > 0, done[np.maximum(index - 1, 0)] + running, 0)

    def total_within(self, start: Ns, end: Ns) -> Ns:
        """Return the time covered inside each of many windows, which may overlap."""
        return self.covered_before(end) - self.covered_before(start)


@dataclass(frozen=True)
class Tiling:
    """Sorted, disjoint, non-empty half-open pieces ``[start, end)``, each with a label (an integer ≥ 0)."""

    start: Ns
    end: Ns
    label: Ns

    @classmethod
    def innermost(cls, start: Ns, end: Ns) -> Tiling:
        """Label each moment with the index of the span that was opened last and is still open.

        For properly nested spans (calls on one thread) that is the innermost one.  Where spans cross, which happens
        in real traces by truncated timestamps, the one that was opened later wins while it is open.
        """
        index = np.flatnonzero(end > start)
        order = index[np.lexsort((-end[index], start[index]))]
        opens, closes = start[order], end[order]
        if not order.size:
            return cls(opens, closes, order)
        parent = _parents(opens, closes)
        if (closes > np.where(parent >= 0, closes[parent], closes)).any():
            closes = _reaches(opens, closes)
            parent = _parents(opens, closes)
        # At its start a span takes over, at its end it hands back to its parent.
        rank = np.arange(order.size)
        closing = np.lexsort((-rank, closes))
        moment = np.r_[closes[closing], opens]
        owner = np.r_[parent[closing], rank]
        sequence = np.argsort(moment, kind="stable")
        moment, owner = moment[sequence], owner[sequence]
        until = np.r_[moment[1:], moment[-1:]]
        keep = (owner >= 0) & (until > moment)
        return cls(moment[keep], until[keep], order[owner[keep]])

    @classmethod
    def first_of(cls, layers: Iterable[tuple[int, Spans]]) -> Tiling:
        """Label each moment with the first layer that covers it."""
        taken, pieces = Spans.empty(), []
        for layer, spans in layers:
            mine = spans - taken
            if len(mine):
                pieces.append((mine, layer))
                taken = taken | mine
        if not pieces:
            return cls(*(np.empty(0, np.int64) for _ in range(3)))
        start = np.concatenate([spans.start for spans, _ in pieces])
        end = np.concatenate([spans.end for spans, _ in pieces])
        label = np.concatenate([np.full(len(spans), layer, np.int64) for spans, layer in pieces])
        order = np.argsort(start)
        return cls(start[order], end[order], label[order])

    def at(self, times: Ns) -> Ns:
        """Return the label at each moment, `NOTHING` where no piece covers it."""
        if not self.start.size:
            return np.full(times.shape, NOTHING, np.int64)
        index = np.maximum(np.searchsorted(self.start, times, side="right") - 1, 0)
        inside = (self.start[index] <= times) & (times < self.end[index])
        return np.where(inside, self.label[index], NOTHING)

    def relabelled(self, label_of: Ns) -> Tiling:
        """Replace each label by ``label_of[label]``; pieces whose new label is negative vanish."""
        label = label_of[self.label]
        keep = label >= 0
        return Tiling(self.start[keep], self.end[keep], label[keep])

    def joined(self) -> Tiling:
        """Join pieces that touch and have one label."""
        if not self.start.size:
            return self
        opens = np.r_[True, (self.label[1:] != self.label[:-1]) | (self.start[1:] != self.end[:-1])]
        return Tiling(self.start[opens], self.end[np.r_[opens[1:], True]], self.label[opens])

    def within(self, spans: Spans) -> Tiling:
        """Keep only the time that the spans cover."""
        first = np.searchsorted(spans.end, self.start, side="right")
        count = np.searchsorted(spans.start, self.end, side="left") - first
        mine = np.repeat(np.arange(self.start.size), count)
        theirs = np.arange(mine.size) - np.repeat(np.cumsum(count) - count, count) + first[mine]
        return Tiling(
            np.maximum(self.start[mine], spans.start[theirs]),
            np.minimum(self.end[mine], spans.end[theirs]),
            self.label[mine],
        )

    def spans(self) -> Spans:
        """Return the time that has a label."""
        return Spans.merged(self.start, self.end)

    def spans_of(self, label: int) -> Spans:
        """Return the time that has this label."""
        mine = self.label == label
        return Spans.merged(self.start[mine], self.end[mine])

    def total_ns_by_label(self, labels: int) -> Ns:
        """Return the time of each label from 0 to ``labels - 1``."""
        return sum_by(self.label, self.end - self.start, labels)


def _parents(opens: Ns, closes: Ns) -> Ns:
    """Return the index of the span that directly encloses each one; exact for properly nested spans in open order."""
    rank = np.arange(opens.size)
    # Depth: how many spans are open when this one opens; its parent: the latest one of one depth less.
    depth = rank - np.searchsorted(np.sort(closes), opens, side="right")
    by_depth = np.lexsort((rank, depth))
    keys = depth[by_depth] * opens.size + rank[by_depth]
    above = np.searchsorted(keys, (depth - 1) * opens.size + rank) - 1
    return np.where(depth > 0, by_depth[above], NOTHING)


def _reaches(opens: Ns, closes: Ns) -> Ns:
    """Let each span end no earlier than what crosses its end, so that all are properly nested.

    That never changes who was opened last and is still open: in the time that a span gains, a later one is open.
    """
    reach = closes.tolist()
    stack: list[int] = []
    for index, moment in enumerate(opens.tolist()):
        while stack and reach[stack[-1]] <= moment:
            stack.pop()
        for outer in reversed(stack):
            if reach[outer] >= reach[index]:
                break
            reach[outer] = reach[index]
        stack.append(index)
    return np.array(reach, np.int64)


def sum_by(group: Ns, values: Ns, groups: int) -> Ns:
    """Sum integers by group.  Exact while each sum stays below 2⁵³ (104 days in nanoseconds)."""
    return np.bincount(group, weights=values, minlength=groups).astype(np.int64)


def distinct(*columns: Ns) -> tuple[list[tuple[int, ...]], Ns]:
    """Return the tuples of integers that occur side by side, and for each place which one it is.

    Columns are of equal length.  Few small integers, as codes are, need no sorting.
    """
    size = columns[0].size
    if not size:
        return [], np.empty(0, np.int64)
    key, width = np.zeros(size, np.int64), 1
    for column in columns:
        low, high = int(column.min()), int(column.max())
        if width * (high - low + 1) >= 1 << 62:
            values, column = np.unique(column, return_inverse=True)  # noqa: PLW2901 - the same, in small numbers
            low, high = 0, len(values) - 1
            found, key = np.unique(key, return_inverse=True)
            width = len(found)
        key = key * (high - low + 1) + (column - low)
        width *= high - low + 1
    if width <= _SPARSE * size:
        present = np.zeros(width, np.bool_)
        present[key] = True
        at = (np.cumsum(present) - 1)[key]
    else:
        at = np.unique(key, return_inverse=True)[1]
    first = np.empty(int(at.max()) + 1, np.int64)
    first[at[::-1]] = np.arange(size - 1, -1, -1)
    return list(zip(*(column[first].tolist() for column in columns), strict=True)), at


_SPARSE = 64
