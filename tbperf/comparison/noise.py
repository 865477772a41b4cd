"""How far the figures of a run would move if it were recorded again: so that noise is called noise.

What the steps of a run tell, and what no single run can tell, is kept apart:

- **Within a run**, a circular block bootstrap: stretches of steps that followed each other are drawn with
  replacement, because a slow step is often followed by another.  Few stretches say little of how far they scatter,
  hence Student's t.
- **Between runs**, drift that moves all times of a run alike (clocks, heat, other programs), and what moves each
  figure by itself.  Replicas show both; without any, an allowance stands in: a floor, and more where the run's own
  steps drift slowly.  Replicas and allowance are weighed by their number.

All of it is drawn as `REPETITIONS` imagined repetitions of the recordings.  Whatever is computed from figures (a
difference, a share, a ratio) is computed in each of them; what `INTERVAL` of the results cover is its interval.  The
draws are seeded: the same recordings give the same intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats = npt.NDArray[np.float64]

REPETITIONS = 4000

INTERVAL = 0.99
"""Share of the repetitions that an interval covers.  A comparison looks at many figures: with 95 %, one of twenty
would be called a change where nothing changed."""

FEWEST_STEPS = 8
"""With fewer steps, what they say about noise is mostly noise itself."""

MEDIAN = "median"
"""Suffix of the column for the median of a column."""

TRUST = 6
"""The allowance weighs as much as so many replicas."""

LARGE_SHARE = 0.02
FEWEST_LARGE = 4
"""Only parts of at least that share of the step, and only so many of them, tell by how much all moved alike."""

_STRETCHES = 8
"""A run is cut in so many stretches to see whether it drifts slowly."""


@dataclass(frozen=True)
class Allowance:
    """How far figures may move from run to run where no replicas tell: relative standard deviations."""

    drift: float
    """Of all times of a run alike."""
    slow: float
    """The same, as a multiple of the slow drift inside the run."""
    scatter: float
    """The same, as a multiple of the standard deviation of single steps."""
    own: float
    """Of each figure by itself."""
    own_of_step: float
    """Of each figure by itself, as a share of the step: small figures move by more than their own share."""


HOST = Allowance(drift=0.03, slow=0.0, scatter=1.2, own=0.015, own_of_step=0.002)
"""For runs on the CPU, which they share: what makes single steps scatter makes whole runs differ as much."""

DEVICE = Allowance(drift=0.005, slow=2.0, scatter=0.0, own=0.005, own_of_step=0.001)
"""For runs on a GPU, which they have to themselves."""


@dataclass(frozen=True)
class Series:
    """Steps of one process in the order of time; columns of equal length."""

    weight: Floats
    """Steps that each row stands for."""
    columns: Mapping[str, Floats]

    def __len__(self) -> int:
        return int(self.weight.size)


def mean_of(series: Sequence[Series], name: str) -> float:
    """Return the mean of a column over all steps; 0 where no process has it."""
    whole = sum(float(one.weight.sum()) for one in series)
    return sum(float(one.weight @ one.columns[name]) for one in series if name in one.columns) / whole


def median_of(series: Sequence[Series], name: str) -> float:
    """Return the median of a column over all rows."""
    return float(np.median(np.concatenate([one.columns[name] for one in series])))


@dataclass(frozen=True)
class Unrest:
    """How much the steps of a run differ among themselves; relative standard deviations."""

    slow: float
    """Of long stretches, beyond what single steps explain; 0 for what is too short to tell."""
    scatter: float
    """Of single steps."""


def unrest_of(series: Sequence[Series], name: str) -> Unrest:
    """Measure how much a column differs from step to step."""
    mean = mean_of(series, name)
    slow = [_slow_variance(one.columns[name]) for one in series if len(one) >= 2 * _STRETCHES]
    # The mean of several steps scatters less than a step.
    single = [float(np.mean(one.weight * (one.columns[name] - one.columns[name].mean()) ** 2)) for one in series]
    if not mean:
        return Unrest(0.0, 0.0)
    return Unrest(float(np.sqrt(np.mean(slow))) / mean if slow else 0.0, float(np.sqrt(np.mean(single))) / mean)


def _slow_variance(values: Floats) -> float:
    stretches = np.array_split(values, _STRETCHES)
    between_steps = float(np.mean(np.diff(values) ** 2)) / 2  # blind to what changes slowly
    between_stretches = float(np.var([stretch.mean() for stretch in stretches], ddof=1))
    return max(0.0, between_stretches - between_steps * _STRETCHES / values.size)


def resample(series: Sequence[Series], median: str, rng: np.random.Generator) -> dict[str, Floats]:
    """Return by how much the mean of each column would differ, had other steps been drawn: an array of repetitions.

    The column named by ``median`` has one more, for its median.  Zeros where a single step says nothing.
    """
    names = dict.fromkeys(name for one in series for name in one.columns)
    draws = [_draw(len(one), rng) for one in series]
    blocks = sum(len(one) / _block(len(one)) for one in series)
    if blocks < _FEWEST_BLOCKS:
        return {name: np.zeros(REPETITIONS) for name in (*names, median + MEDIAN)}
    scale = np.sqrt(blocks / rng.chisquare(blocks - 1, REPETITIONS))
    whole = sum(draw @ one.weight for draw, one in zip(draws, series, strict=True))
    found = {}
    for name in names:
        total = sum(
            draw @ (one.weight * one.columns[name])
            for draw, one in zip(draws, series, strict=True)
            if name in one.columns
        )
        found[name] = (total / whole - mean_of(series, name)) * scale
    values = np.concatenate([one.columns[median] for one in series])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(np.concatenate(draws, axis=1)[:, order], axis=1)
    middle = (reached >= reached[:, -1:] / 2).argmax(axis=1)
    found[median + MEDIAN] = (values[order][middle] - median_of(series, median)) * scale
    return found


_FEWEST_BLOCKS = 1.5


def _block(rows: int) -> int:
    return max(1, int(np.ceil(np.sqrt(rows) / 2)))


def _draw(rows: int, rng: np.random.Generator) -> Floats:
    """Return how often each row is drawn in each repetition."""
    length = _block(rows)
    starts = rng.integers(0, rows, (REPETITIONS, -(-rows // length)))
    drawn = ((starts[:, :, None] + np.arange(length)) % rows).reshape(REPETITIONS, -1)[:, :rows]
    cells = drawn + rows * np.arange(REPETITIONS)[:, None]
    return np.bincount(cells.ravel(), minlength=REPETITIONS * rows).reshape(REPETITIONS, rows).astype(np.float64)


class Spread:
    """What replicas and allowance together say about how far figures move from run to run.

    ``sides`` holds the figures of each run of each side; runs of one side are replicas of each other.
    """

    def __init__(self, sides: Sequence[Sequence[Mapping[object, float]]], step: str, allowance: Allowance) -> None:
        self._sides = sides
        self._step = step
        self._allowance = allowance
        self.replicas = sum(len(side) - 1 for side in sides)
        self.freedom = TRUST + self.replicas

    def drift(self, inside: Sequence[Unrest]) -> float:
        """Return the relative standard deviation of the drift of runs whose steps differ so much among themselves."""
        give = self._allowance
        allowed = give.drift**2 + float(
            np.mean([(give.slow * one.slow) ** 2 + (give.scatter * one.scatter) ** 2 for one in inside])
        )
        seen = sum(_square(run[self._step] for run in side) / _mean(side, self._step) ** 2 for side in self._sides)
        return self._weighed(allowed, seen)

    def own(self, name: object, value: float, step: float, times: float = 1.0) -> float:
        """Return the standard deviation of a figure beyond the drift, where it has a value in a step so long.

        ``times`` is how many times the allowance a figure needs that has no steps of its own.
        """
        allowed = times**2 * ((self._allowance.own * value) ** 2 + (self._allowance.own_of_step * step) ** 2)
        seen = sum(_square(run.get(name, 0.0) / run[self._step] for run in side) for side in self._sides)
        return self._weighed(allowed, seen * step**2)

    def _weighed(self, allowed: float, seen: float) -> float:
        return float(np.sqrt((TRUST * allowed + seen) / self.freedom))


def _mean(side: Sequence[Mapping[object, float]], name: str) -> float:
    return float(np.mean([run[name] for run in side])) or 1.0


def _square(values: object) -> float:
    found = np.fromiter(values, np.float64)  # type: ignore[call-overload]
    return float(((found - found.mean()) ** 2).sum())


def interval(values: Floats | float) -> tuple[float, float]:
    """Return what `INTERVAL` of some repetitions lie in."""
    low, high = np.quantile(values, ((1 - INTERVAL) / 2, (1 + INTERVAL) / 2))
    return float(low), float(high)
