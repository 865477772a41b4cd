"""One side of a comparison: its runs, and imagined repetitions of them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tbperf.comparison.noise import DEVICE, HOST, MEDIAN, REPETITIONS, Spread, resample, unrest_of
from tbperf.comparison.recorded import CAUSE, COUNT, IMAGE, PROCESSES, STEP
from tbperf.comparison.work import Work, work_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tbperf.comparison.noise import Floats
    from tbperf.comparison.recorded import Recorded
    from tbperf.comparison.work import Key

_SLOWEST = 20.0
"""Drift beyond this factor is a draw from the far tail of Student's t, and no machine."""

_COUNTS_MOVE = 0.005
"""Relative standard deviation of numbers of calls from run to run: data decides over some, such as boxes."""

_WORK_MOVES, _WORK_SCATTERS = 2.0, 0.5
"""Operators and kernels have no steps of their own to judge by: they get so many times the allowance, and so much of
what the mean of the profiled steps scatters by."""


class Side:
    """The runs of one side; several are replicas of each other."""

    def __init__(self, runs: Sequence[Recorded]) -> None:
        self.runs = tuple(runs)
        self._works = [work_of(run) for run in runs]

    @property
    def on_device(self) -> bool:
        """Whether all runs have device work."""
        return all(run.on_device for run in self.runs)

    @property
    def images(self) -> float | None:
        """Images a step and process, where all runs tell."""
        counts = [run.images for run in self.runs]
        return None if None in counts else float(np.mean([count or 0.0 for count in counts]))

    @property
    def scatters(self) -> bool:
        """Whether there is anything to tell noise by: several steps, or replicas."""
        return len(self.runs) > 1 or any(len(one) > 1 for one in self.runs[0].timed)

    @cached_property
    def profiled_scatter(self) -> float:
        """Relative standard deviation of the mean of the profiled steps."""
        found = [unrest_of(run.profiled, STEP).scatter ** 2 / run.windows for run in self.runs if run.profiled]
        return float(np.sqrt(np.mean(found))) if found else 0.0

    @cached_property
    def means(self) -> dict[str, float]:
        """Every column's figure: the mean over runs."""
        names = dict.fromkeys(name for run in self.runs for name in run.means)
        return {name: float(np.mean([run.means.get(name, 0.0) for run in self.runs])) for name in names}

    @cached_property
    def work(self) -> dict[Key, Work]:
        """Kernels and operators: the mean over runs."""
        keys = dict.fromkeys(key for work in self._works for key in work)
        return {key: _mean_work([work.get(key) for work in self._works]) for key in keys}

    def figures(self) -> list[dict[object, float]]:
        """Return all figures of each run."""
        return [
            dict[object, float](run.means) | {key: one.ns for key, one in work.items()}
            for run, work in zip(self.runs, self._works, strict=True)
        ]


def _mean_work(work: Sequence[Work | None]) -> Work:
    calls = [one.calls if one else 0.0 for one in work]
    return Work(
        float(np.mean([one.ns if one else 0.0 for one in work])),
        None if None in calls else float(np.mean([number or 0.0 for number in calls])),
    )


class Repeated:
    """Repetitions of one side: what its figures would be, were all of it recorded again."""

    def __init__(self, side: Side, spread: Spread, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._spread, self._side = spread, side
        drift = spread.drift([run.unrest for run in side.runs])
        self.drift: Floats = np.clip(np.exp(drift * self._between_runs()), 1 / _SLOWEST, _SLOWEST)
        """By how much all times of the repetitions are longer, alike."""
        within: dict[str, Floats] = {}
        for run in side.runs:
            for name, moved in _within(run, self._rng).items():
                within[name] = within.get(name, 0.0) + moved / len(side.runs)
        still = np.zeros(REPETITIONS)
        self._columns = {
            name: self._repeat(name, mean, within.get(name, still))
            for name, mean in side.means.items()
            if name != IMAGE
        }

    def __getitem__(self, name: str) -> Floats:
        if name == IMAGE:
            return self[STEP] * (self._side.means[IMAGE] / self._side.means[STEP])
        return self._columns[name]

    def work(self, key: Key) -> Floats:
        """Return repetitions of what a kernel or operator takes."""
        mean = self._side.work[key].ns if key in self._side.work else 0.0
        own = self._spread.own(key, mean, self._side.means[STEP], times=_WORK_MOVES)
        own = float(np.hypot(own, _WORK_SCATTERS * self._side.profiled_scatter * mean))
        return _at_least(0.0, mean + own * self._between_runs()) * self.drift

    def _repeat(self, name: str, mean: float, within: Floats) -> Floats:
        if name == PROCESSES:
            return mean + within
        if name.startswith(COUNT):
            return _at_least(0.0, mean * (1 + _COUNTS_MOVE * self._between_runs()))
        if name in _WHOLE:
            return _at_least(mean / _SLOWEST, mean + within) * self.drift
        own = self._spread.own(name, mean, self._side.means[STEP])
        return _at_least(0.0, mean + within + own * self._between_runs()) * self.drift

    def _between_runs(self) -> Floats:
        drawn: Floats = self._rng.standard_t(self._spread.freedom, REPETITIONS)
        drawn *= len(self._side.runs) ** -0.5
        return drawn


def _at_least(low: float, values: Floats) -> Floats:
    found: Floats = np.maximum(values, low)
    return found


_WHOLE = (STEP, STEP + MEDIAN, "window")
"""Columns that move by drift alone."""

_SAMPLED = ("window", "busy", "idle")
"""Columns of devices that profiled steps have, too."""


def _within(run: Recorded, rng: np.random.Generator) -> dict[str, Floats]:
    """Return by how much each column of a run would differ, had other steps been drawn."""
    found = resample(run.timed, STEP, rng)
    if run.profiled and run.on_device:
        # Totals of devices are exact; the profiled steps tell how they scatter.
        for name, moved in resample(run.profiled, STEP, rng).items():
            if name in run.means and (name in _SAMPLED or name.startswith(CAUSE)):
                sampled = run.sampled_mean(name)
                found[name] = moved * (run.means[name] / sampled if sampled else 1.0)
    return found


def repeat(a: Side, b: Side) -> tuple[Repeated, Repeated]:
    """Imagine both sides recorded again and again."""
    allowance = DEVICE if a.on_device and b.on_device else HOST
    spread = Spread([a.figures(), b.figures()], STEP, allowance)
    return Repeated(a, spread, seed=1), Repeated(b, spread, seed=2)
