"""Set algebra over half-open time spans, in integer nanoseconds.

Questions about a timeline come in two kinds.  *When* was something on?  `Spans`: merge what overlaps, take the
complement inside a window, measure.  *What* was on at each moment?  `Tiling`: cut time into disjoint labelled pieces,
by who is innermost or by who comes first in a list of priorities, then look moments up or measure labels.

A program may have thousands of threads.  What is asked of each is asked of all at once: `Lanes` lays their time lines
end to end on one, and `Tilings` is a tiling of each.  Nothing here takes more than about n·log(n) for n spans.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
        return _pieces_within(self.start, self.end, other)[0]

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
        rank = np.arange(order.size)
        parent = _parents(opens, closes)
        hands_back = rank
        if (closes > np.where(parent >= 0, closes[parent], closes)).any():
            parent, hands_back = _crossing(opens, closes)
        # At its start a span takes over, at its end it hands back to its parent.
        closing = hands_back[np.lexsort((-hands_back, closes[hands_back]))]
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
        inside, mine = _pieces_within(self.start, self.end, spans)
        return Tiling(inside.start, inside.end, self.label[mine])

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


def _pieces_within(start: Ns, end: Ns, spans: Spans) -> tuple[Spans, Ns]:
    """Cut pieces to the time that spans cover: one for each pair that meets, and which of the given ones it is of."""
    first = np.searchsorted(spans.end, start, side="right")
    count = np.searchsorted(spans.start, end, side="left") - first
    mine = np.repeat(np.arange(start.size), count)
    theirs = np.arange(mine.size) - np.repeat(np.cumsum(count) - count, count) + first[mine]
    return Spans(np.maximum(start[mine], spans.start[theirs]), np.minimum(end[mine], spans.end[theirs])), mine


def _parents(opens: Ns, closes: Ns) -> Ns:
    """Return the index of the span that directly encloses each one; exact for properly nested spans in open order."""
    rank = np.arange(opens.size)
    # Depth: how many spans are open when this one opens; its parent: the latest one of one depth less.
    depth = rank - np.searchsorted(np.sort(closes), opens, side="right")
    by_depth = np.lexsort((rank, depth))
    keys = depth[by_depth] * opens.size + rank[by_depth]
    above = np.searchsorted(keys, (depth - 1) * opens.size + rank) - 1
    return np.where(depth > 0, by_depth[above], NOTHING)


def _crossing(opens: Ns, closes: Ns) -> tuple[Ns, Ns]:
    """Return who takes over at the end of each span in open order, and the spans of which somebody does.

    That is the latest of the earlier ones that is still open; and nobody where a later one is.
    """
    rank = np.arange(opens.size)
    latest_ends = Minima(-closes)
    parent = latest_ends.last_at_most(rank, -closes - 1)
    opened_before = np.searchsorted(opens, closes, side="left")
    on_top = latest_ends.smallest(rank + 1, opened_before) >= -closes
    return parent, np.flatnonzero(on_top)


class Minima:
    """Values in a fixed order, and what is smallest, or small enough, in any stretch of them."""

    def __init__(self, values: Ns) -> None:
        """Sum them up in pairs, pairs of pairs, and so on."""
        self._levels = [values]
        while self._levels[-1].size > 1:
            below = self._levels[-1]
            padded = np.append(below, _LARGEST) if below.size % 2 else below
            self._levels.append(np.minimum(padded[::2], padded[1::2]))

    def smallest(self, low: Ns, high: Ns) -> Ns:
        """Return the smallest value in each stretch ``[low, high)``; the largest integer for an empty one."""
        found = np.full(low.shape, _LARGEST, np.int64)
        low, high = low.copy(), high.copy()
        for values in self._levels:
            open_ = low < high
            if not open_.any():
                break
            left = np.flatnonzero(open_ & (low % 2 == 1))
            found[left] = np.minimum(found[left], values[low[left]])
            right = np.flatnonzero(open_ & (high % 2 == 1))
            found[right] = np.minimum(found[right], values[high[right] - 1])
            low, high = (low + 1) // 2, high // 2
        return found

    def last_at_most(self, before: Ns, most: Ns) -> Ns:
        """Return the last place before each of some places whose value is at most so much; `NOTHING` without any."""
        place = np.full(before.shape, NOTHING, np.int64)
        height = np.zeros(before.shape, np.int64)
        # Climb: what lies before a place is a few whole pairs of pairs; take the last of them that holds such a value.
        for level, values in enumerate(self._levels):
            asked = np.flatnonzero((place == NOTHING) & ((before >> level) % 2 == 1))
            node = (before[asked] >> level) - 1
            fits = values[node] <= most[asked]
            place[asked[fits]], height[asked[fits]] = node[fits], level
        # Descend: of each pair the second, if it holds such a value.
        for level in range(len(self._levels) - 2, -1, -1):
            inside = np.flatnonzero(height == level + 1)
            values = self._levels[level]
            second = np.minimum(2 * place[inside] + 1, values.size - 1)
            place[inside] = np.where(values[second] <= most[inside], second, 2 * place[inside])
            height[inside] = level
        return place


_LARGEST = np.iinfo(np.int64).max


class Lanes:
    """Many time lines, numbered from 0, laid end to end on one: what lies on different ones never meets there."""

    def __init__(self, lanes: int, *times: Ns) -> None:
        """Make room for so many lanes, and for these times on any of them."""
        self._first = min((int(part.min()) for part in times if part.size), default=0)
        last = max((int(part.max()) for part in times if part.size), default=0)
        self._length = last - self._first + 3
        self._moments: Ns | None = None
        if max(1, lanes) * self._length > _FARTHEST:  # too long to lay end to end: count the moments instead
            self._moments = np.unique(np.concatenate(times))
            self._length = self._moments.size + 2

    def place(self, lane: Ns, times: Ns) -> Ns:
        """Return where moments of some lanes lie; those outside of all that there is room for, at the lane's ends."""
        lane = lane.astype(np.int64)
        if self._moments is None:
            return lane * self._length + np.clip(times - self._first + 1, 0, self._length - 1)
        return lane * self._length + np.searchsorted(self._moments, times, side="right")

    def lane(self, places: Ns) -> Ns:
        """Return the lane of some places."""
        return places // self._length

    def times(self, places: Ns) -> Ns:
        """Return the moments of some places, which are places of times that there is room for."""
        inside = places % self._length - 1
        return inside + self._first if self._moments is None else self._moments[inside]

    def merged(self, lane: Ns, start: Ns, end: Ns) -> Spans:
        """Merge what overlaps on a lane; the spans are of places."""
        return Spans.merged(self.place(lane, start), self.place(lane, end))


_FARTHEST = 1 << 62


@dataclass(frozen=True)
class Tilings:
    """A tiling of each of many time lines, numbered from 0; pieces in order of their line, then of time."""

    lane: Ns
    start: Ns
    end: Ns
    label: Ns

    @classmethod
    def innermost(cls, lane: Ns, start: Ns, end: Ns) -> Tilings:
        """Label each moment of each line as `Tiling.innermost` does."""
        lanes = Lanes(int(lane.max(initial=-1)) + 1, start, end)
        found = Tiling.innermost(lanes.place(lane, start), lanes.place(lane, end))
        return cls(lane[found.label].astype(np.int64), lanes.times(found.start), lanes.times(found.end), found.label)

    @classmethod
    def of_lines(cls, lines: Sequence[Tiling]) -> Tilings:
        """Number the tilings of several lines, from 0 on."""
        nothing = np.empty(0, np.int64)
        start, end, label = (
            np.concatenate([nothing, *(getattr(line, what) for line in lines)]) for what in ("start", "end", "label")
        )
        return cls(np.repeat(np.arange(len(lines)), [line.start.size for line in lines]), start, end, label)

    @classmethod
    def joined(cls, parts: Sequence[Tilings]) -> Tilings:
        """Join tilings of different lines."""
        lane, start, end, label = (
            np.concatenate([getattr(part, what) for part in parts]) for what in ("lane", "start", "end", "label")
        )
        order = np.argsort(lane, kind="stable")
        return cls(lane[order], start[order], end[order], label[order])

    @classmethod
    def merged(cls, lane: Ns, start: Ns, end: Ns) -> Tilings:
        """Merge what overlaps on each line; all labels are 0."""
        lanes = Lanes(int(lane.max(initial=-1)) + 1, start, end)
        spans = lanes.merged(lane, start, end)
        nothing = np.zeros(len(spans), np.int64)
        return cls(lanes.lane(spans.start), lanes.times(spans.start), lanes.times(spans.end), nothing)

    @cached_property
    def _lanes(self) -> Lanes:
        return Lanes(int(self.lane.max(initial=-1)) + 1, self.start, self.end)

    @cached_property
    def _laid(self) -> Tiling:
        return Tiling(self._lanes.place(self.lane, self.start), self._lanes.place(self.lane, self.end), self.label)

    def at(self, lane: Ns, times: Ns) -> Ns:
        """Return the label at each moment of a line, `NOTHING` where no piece covers it."""
        known = lane <= self.lane.max(initial=-1)
        found = self._laid.at(self._lanes.place(np.where(known, lane, 0), times))
        return np.where(known, found, NOTHING)

    def of(self, lane: int) -> Tiling:
        """Return the tiling of one line."""
        first, last = np.searchsorted(self.lane, (lane, lane + 1))
        return Tiling(self.start[first:last], self.end[first:last], self.label[first:last])

    def relabelled(self, label_of: Ns) -> Tilings:
        """Replace each label by ``label_of[label]``; pieces whose new label is negative vanish."""
        label = label_of[self.label]
        keep = label >= 0
        return Tilings(self.lane[keep], self.start[keep], self.end[keep], label[keep])

    def within(self, spans: Spans) -> Tilings:
        """Keep only the time that the spans cover."""
        inside, mine = _pieces_within(self.start, self.end, spans)
        return Tilings(self.lane[mine], inside.start, inside.end, self.label[mine])

    def __and__(self, other: Tilings) -> Tilings:
        """Keep only the time that the same line of another one has labels for."""
        lanes, mine, theirs = self._beside(other)
        return self._cut(lanes, mine, theirs)

    def __sub__(self, other: Tilings) -> Tilings:
        """Keep only the time that the same line of another one has no labels for."""
        lanes, mine, theirs = self._beside(other)
        if not self.lane.size:
            return self
        return self._cut(lanes, mine, theirs.gaps(int(mine.start[0]), int(mine.end[-1])))

    def _beside(self, other: Tilings) -> tuple[Lanes, Spans, Spans]:
        """Lay both on the same lanes."""
        count = int(max(self.lane.max(initial=-1), other.lane.max(initial=-1))) + 1
        lanes = Lanes(count, self.start, self.end, other.start, other.end)
        mine, theirs = (Spans(lanes.place(t.lane, t.start), lanes.place(t.lane, t.end)) for t in (self, other))
        return lanes, mine, theirs

    def _cut(self, lanes: Lanes, mine: Spans, where: Spans) -> Tilings:
        inside, which = _pieces_within(mine.start, mine.end, where)
        return Tilings(self.lane[which], lanes.times(inside.start), lanes.times(inside.end), self.label[which])

    def renumbered(self, number_of: Ns) -> Tilings:
        """Return the lines under other numbers, ``number_of[lane]``, no two under one; negative ones vanish."""
        lane = number_of[self.lane]
        order = np.argsort(lane, kind="stable")
        order = order[lane[order] >= 0]
        return Tilings(lane[order], self.start[order], self.end[order], self.label[order])

    def total_ns_by_label(self, labels: int) -> Ns:
        """Return the time of each label from 0 to ``labels - 1``, on all lines together."""
        return sum_by(self.label, self.end - self.start, labels)

    def stacked(self) -> Tiling:
        """Label each moment as the first line does that has a label there."""
        found = self
        while (highest := int(found.lane.max(initial=0))) > 0:
            # Line by line in pairs: of each, the second fills what the first leaves open.
            lanes = Lanes(highest // 2 + 1, found.start, found.end)
            first = found.lane % 2 == 0
            start, end = lanes.place(found.lane // 2, found.start), lanes.place(found.lane // 2, found.end)
            taken = Spans.merged(start[first], end[first])
            open_ = taken.gaps(int(start.min()), int(end.max()))
            above, below = (Tiling(start[which], end[which], found.label[which]) for which in (first, ~first))
            below = below.within(open_)
            start, end, label = (
                np.r_[getattr(above, what), getattr(below, what)] for what in ("start", "end", "label")
            )
            order = np.argsort(start)
            start, end, label = start[order], end[order], label[order]
            found = Tilings(lanes.lane(start), lanes.times(start), lanes.times(end), label)
        return Tiling(found.start, found.end, found.label)


def sum_by(group: Ns, values: Ns, groups: int) -> Ns:
    """Sum integers by group.  Exact while each sum stays below 2⁵³ (104 days in nanoseconds)."""
    return np.bincount(group, weights=values, minlength=groups).astype(np.int64)


def rows_by(values: Ns) -> Iterator[tuple[int, Ns]]:
    """Yield each value that occurs, in order, with the places where it does."""
    order = np.argsort(values, kind="stable")
    found, first = np.unique(values[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, first[1:]), strict=False)


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


_SPARSE = 8
"""Places for each row that are cheaper to look through than rows are to sort."""
