"""Hold two sides against each other: what changed, by how much, and whether that is more than noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tbperf import __version__
from tbperf.analyses import Rows
from tbperf.comparison.figures import FIGURES, LOW, NS, NUMBER, RATE, SAME_SPEED
from tbperf.comparison.noise import FEWEST_LARGE, INTERVAL, LARGE_SHARE, interval
from tbperf.comparison.recorded import CAUSE, LOG, PROFILE, STAGE, STEP, WINDOW, WORK, offers_log, phases_of, runs_of
from tbperf.comparison.repeated import Side, repeat
from tbperf.comparison.result import (
    ADDED,
    CHANGED,
    GONE,
    LESS,
    MORE,
    NOISE,
    UNKNOWN,
    Comparison,
    Difference,
    Measured,
    SideSummary,
    WorkDifference,
)
from tbperf.comparison.settings import differs, kinds_told, mean_samples, mismatches_of, settings_of
from tbperf.comparison.verdict import cautions, verdict
from tbperf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.comparison.noise import Floats
    from tbperf.comparison.settings import Mismatch
    from tbperf.comparison.work import Key
    from tbperf.report import Report

WORTH_LISTING = 0.001
"""Of a step: kernels and operators that take less on both sides are left out."""

_DEVICE_PARTS = ("compute", "exposed_comm", "exposed_memcpy", "exposed_memset")


def compare_reports(
    a: Sequence[Report], b: Sequence[Report], *, phase: str | None = None, force: bool = False
) -> Comparison:
    """Compare two sides, each of one run or of several that are replicas of each other.

    ``phase`` is train, val or predict; by default the first that both have.  Raises UsageError where the sides cannot
    be compared, unless forced.
    """
    phases = _phases(a, b, phase)
    logged = all(offers_log(report, of) for side, of in zip((a, b), phases, strict=True) for report in side)
    first, second = (
        Side([run for report in side for run in runs_of(report, of, LOG if logged else PROFILE)])
        for side, of in zip((a, b), phases, strict=True)
    )
    # Replicas must fit, too: the first run of either side stands against all others.
    pairs = [(first.runs[0], run) for run in (*second.runs, *first.runs[1:])]
    mismatches = tuple(dict.fromkeys(mismatch for pair in pairs for mismatch in mismatches_of(*pair)))
    forbidding = [mismatch.sentence() for mismatch in mismatches if mismatch.forbids]
    if forbidding and not force:
        raise UsageError(f"not comparable: {'; '.join(forbidding)}", "--force compares them all the same")
    return _Comparing(first, second).comparison(mismatches)


def _phases(a: Sequence[Report], b: Sequence[Report], phase: str | None) -> tuple[str | None, str | None]:
    ours, theirs = ([of for report in side for of in phases_of(report)] for side in (a, b))
    for side, found in (("A", ours), ("B", theirs)):
        if not found:
            raise UsageError(f"{side} holds no trace to compare", "`tbperf analyze` says what it holds")
        if phase is not None and phase not in found:
            raise UsageError(f"--phase {phase}: {side} has none", f"it has {', '.join(map(str, found))}")
    if phase is not None:
        return phase, phase
    return next(((of, of) for of in ours if of in theirs), (ours[0], theirs[0]))


class _Pair(NamedTuple):
    """A figure on both sides, and its repetitions."""

    a: float | None
    b: float | None
    again_a: Floats | float
    again_b: Floats | float

    def scaled(self, a: float, b: float) -> _Pair:
        """Multiply each side."""
        return _Pair(
            None if self.a is None else self.a * a,
            None if self.b is None else self.b * b,
            self.again_a * a,
            self.again_b * b,
        )


class _Alike(NamedTuple):
    """By what factor all parts of B differ from those of A, and its repetitions."""

    ratio: float
    again: Floats | float


_NOT_ALIKE = _Alike(1.0, 1.0)


class _Comparing:
    """A comparison in the making."""

    def __init__(self, a: Side, b: Side) -> None:
        self._a, self._b = a, b
        self._again_a, self._again_b = repeat(a, b)
        self._drift = interval(self._again_b.drift / self._again_a.drift)
        self._known = a.scatters and b.scatters
        self._scale = (1.0, 1.0)
        self._per = "window" if a.runs[0].source == WINDOW else "step"
        if a.images and b.images and differs(a.images, b.images):
            self._scale, self._per = (1 / a.images, 1 / b.images), "image"

    def comparison(self, mismatches: tuple[Mismatch, ...]) -> Comparison:
        """Return all of it."""
        names = list(dict.fromkeys((*self._a.means, *self._b.means)))
        of_stages = [name for name in names if name.startswith(STAGE)]
        alike = self._alike([self._column(name) for name in of_stages])
        figures = Rows(self._figures(alike))
        stages = self._parts(of_stages, STAGE, alike)
        device_parts = self._parts([name for name in names if name.startswith(CAUSE) or name in _DEVICE_PARTS], CAUSE)
        device_work = self._parts([name for name in names if name.startswith(WORK)], WORK)
        found = Comparison(
            tbperf=__version__,
            verdict=(),
            cautions=(),
            a=_summary(self._a),
            b=_summary(self._b),
            phase=self._b.runs[0].phase,
            source=self._a.runs[0].source,
            per=self._per,
            interval=INTERVAL,
            alike=alike.ratio,
            named_stage=_leading((*stages, *device_work), figures[0].change),
            named_cause=_leading(device_parts, figures[0].change),
            figures=figures,
            stages=stages,
            device_parts=device_parts,
            device_work=device_work,
            work=Rows(sorted(self._work(), key=lambda row: (row.change not in CHANGED, -abs(row.difference_ns)))),
            hardware=Rows(self._hardware()),
            settings=settings_of(self._a.runs[0], self._b.runs[0]),
            told=kinds_told(self._a.runs[0], self._b.runs[0]),
            mismatches=mismatches,
        )
        return replace(found, verdict=tuple(verdict(found)), cautions=tuple(cautions(found)))

    def _figures(self, alike: _Alike) -> Iterator[Difference]:
        """Compare figures; the step time also as if the machine had been as fast on both sides, as far as known."""
        for figure in FIGURES:
            try:
                pair = _Pair(*(figure.of(of) for of in (self._a.means, self._b.means, self._again_a, self._again_b)))
            except (KeyError, ZeroDivisionError):
                continue
            if figure.unit in (NS, NUMBER):
                pair = pair.scaled(*self._scale)
            yield self._difference(figure.name, figure.unit, figure.better, pair, _NOT_ALIKE)
            if figure.name == "step_time":
                yield self._difference(SAME_SPEED, figure.unit, figure.better, pair, alike)

    def _parts(self, names: Sequence[str], prefix: str, alike: _Alike = _NOT_ALIKE) -> Rows[Difference]:
        """Compare parts of a step, beyond what they share."""
        pairs = {name: self._column(name) for name in names}
        found = [
            self._difference(name.removeprefix(prefix), NS, None if name == "compute" else LOW, pair, alike)
            for name, pair in pairs.items()
            if pair.a or pair.b
        ]
        return Rows(sorted(found, key=lambda row: (row.change not in CHANGED, -abs(row.difference))))

    def _column(self, name: str) -> _Pair:
        sides = ((self._a, self._again_a), (self._b, self._again_b))
        means = [side.means.get(name) for side, _ in sides]
        again = [again[name] if name in side.means else 0.0 for side, again in sides]
        return _Pair(means[0], means[1], again[0], again[1]).scaled(*self._scale)

    def _work(self) -> Iterator[WorkDifference]:
        least = [WORTH_LISTING * side.means[STEP] for side in (self._a, self._b)]
        listed = [
            key
            for key in dict.fromkeys((*self._a.work, *self._b.work))
            if any(
                key in side.work and side.work[key].ns >= ns for side, ns in zip((self._a, self._b), least, strict=True)
            )
        ]
        pairs = {key: self._work_pair(key) for key in listed}
        for sort in dict.fromkeys(key.sort for key in listed):
            of_sort = {key: pair for key, pair in pairs.items() if key.sort == sort}
            alike = self._alike(list(of_sort.values()))
            for key, pair in of_sort.items():
                row = self._difference(key.name, NS, LOW, pair, alike)
                yield WorkDifference(
                    sort=sort,
                    name=key.name,
                    shapes=key.shapes,
                    stage=key.stage,
                    a_ns=row.a,
                    b_ns=row.b,
                    a_calls=self._calls(self._a, key, self._scale[0]),
                    b_calls=self._calls(self._b, key, self._scale[1]),
                    expected_ns=row.expected,
                    difference_ns=row.difference,
                    low_ns=row.low,
                    high_ns=row.high,
                    change=row.change,
                )

    def _hardware(self) -> Iterator[Measured]:
        a, b = (mean_samples(side.runs) for side in (self._a, self._b))
        for series in a:
            if series in b and (a[series] or b[series]):
                yield Measured(series, a[series], b[series])

    def _work_pair(self, key: Key) -> _Pair:
        a, b = (side.work[key].ns if key in side.work else None for side in (self._a, self._b))
        return _Pair(a, b, self._again_a.work(key), self._again_b.work(key)).scaled(*self._scale)

    @staticmethod
    def _calls(side: Side, key: Key, scale: float) -> float | None:
        calls = side.work[key].calls if key in side.work else None
        return None if calls is None else calls * scale

    def _alike(self, pairs: Sequence[_Pair]) -> _Alike:
        """Return by what factor parts differ alike: the median of their ratios, as far as drift explains it."""
        whole = [sum(pair.a or 0.0 for pair in pairs), sum(pair.b or 0.0 for pair in pairs)]
        large = [
            pair
            for pair in pairs
            if (pair.a or 0.0) > LARGE_SHARE * whole[0] and (pair.b or 0.0) > LARGE_SHARE * whole[1]
        ]
        if len(large) < FEWEST_LARGE or not self._known:
            return _NOT_ALIKE
        ratio = float(np.median([pair.b / pair.a for pair in large if pair.a and pair.b]))
        again = np.median([pair.again_b / np.maximum(pair.again_a, 1e-9) for pair in large], axis=0)
        low, high = self._drift
        return _Alike(ratio, again) if low <= ratio <= high else _NOT_ALIKE

    def _difference(self, name: str, unit: str, better: str | None, pair: _Pair, alike: _Alike) -> Difference:
        expected = alike.ratio * (pair.a or 0.0)
        difference = (pair.b or 0.0) - expected
        low = high = None
        change = UNKNOWN
        if self._known:
            again = pair.again_b - alike.again * pair.again_a
            low, high = interval(again * self._pace(unit, alike))
            change = NOISE if low <= 0 <= high else _direction(pair, difference)
        return Difference(name, unit, better, pair.a, pair.b, expected, difference, low, high, change)

    def _pace(self, unit: str, alike: _Alike) -> Floats | float:
        """Return what brings repetitions of a difference to the pace of one side: drift there is no difference."""
        if alike is not _NOT_ALIKE:
            return 1 / self._again_b.drift
        drift = self._again_a.drift
        return 1 / drift if unit == NS else drift if unit == RATE else 1.0


def _direction(pair: _Pair, difference: float) -> str:
    if not pair.a:
        return ADDED
    if not pair.b:
        return GONE
    return MORE if difference > 0 else LESS


def _leading(rows: Sequence[Difference], step: str) -> str | None:
    """Return the part that changed most, in the direction of the step time where that changed."""
    changed = [row for row in rows if row.change in CHANGED]
    if step in (LESS, MORE):
        changed = [row for row in changed if (row.difference > 0) == (step == MORE)] or changed
    return max(changed, key=lambda row: abs(row.difference)).name if changed else None


def _summary(side: Side) -> SideSummary:
    return SideSummary(
        runs=tuple(run.name for run in side.runs),
        steps=sum(run.steps for run in side.runs),
        profiled_steps=sum(len(trace.steps) for run in side.runs for trace in run.traces),
        images=side.images,
        on_device=side.on_device,
    )
