"""Figures of many durations or sizes, by group, as `nsys stats` gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tbperf.intervals import Ns


@dataclass(frozen=True)
class Spread:
    """How values lie: nanoseconds, or bytes where copies are summed by size."""

    total: int
    mean: float
    median: float
    """Of an even number of values the mean of the two in the middle."""
    min: int
    max: int
    stddev: float
    """Of a sample (n − 1); 0 of one value."""


def spread_by(group: Ns, values: Ns, groups: int) -> list[tuple[int, Spread | None]]:
    """Return the number of values and their figures for each group; None for a group without any."""
    order = np.lexsort((values, group))
    ordered = values[order]
    counts = np.bincount(group, minlength=groups)
    ends = np.cumsum(counts)
    begins = ends - counts
    totals = np.r_[0, np.cumsum(ordered)]
    sums = totals[ends] - totals[begins]
    means = sums / np.maximum(counts, 1)
    squares = np.bincount(group, weights=(values - means[group]) ** 2, minlength=groups)
    deviations = np.sqrt(squares / np.maximum(counts - 1, 1))
    found: list[tuple[int, Spread | None]] = []
    for index, count in enumerate(counts.tolist()):
        if not count:
            found.append((0, None))
            continue
        mine = ordered[begins[index] : ends[index]]
        middle = (int(mine[(count - 1) // 2]) + int(mine[count // 2])) / 2
        spread = Spread(
            total=int(sums[index]),
            mean=float(means[index]),
            median=middle,
            min=int(mine[0]),
            max=int(mine[-1]),
            stddev=float(deviations[index]) if count > 1 else 0.0,
        )
        found.append((count, spread))
    return found


def spread(values: Ns) -> Spread | None:
    """Return the figures of all values; None without any."""
    return spread_by(np.zeros(len(values), np.int64), values, 1)[0][1]


Key = tuple[object, ...]


def grouped(parts: Sequence[tuple[list[Key], Ns, Ns]]) -> list[tuple[Key, int, Spread]]:
    """Join values of several traces, each with its own list of keys and a place in it for each value; dearest first."""
    places: dict[Key, int] = {}
    groups, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for keys, at, part in parts:
        place = np.array([places.setdefault(key, len(places)) for key in keys], np.int64)
        groups.append(place[at])
        values.append(part)
    found = spread_by(np.concatenate(groups), np.concatenate(values), len(places))
    rows = [(key, count, figures) for key, (count, figures) in zip(places, found, strict=True) if figures is not None]
    return sorted(rows, key=lambda row: -row[2].total)
