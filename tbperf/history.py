"""Figures over many runs, in the order in which they were recorded, and the run from which on one has shifted.

A shift is looked for in each figure by itself: of all ways to cut the runs into before and after, the one that
explains most.  Whether that is more than noise is asked of `DRAWS` imagined histories without a shift, cut in the same
way, in which runs differ as the runs' own steps, an allowance (`tbperf.comparison.noise`) and the runs on each side of
the cut say.  Stages are compared beyond what all stages of a run share: a busy machine is no shift of a stage.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tbperf import __version__
from tbperf.analyses import Rows
from tbperf.comparison.figures import FIGURES, LOW, NS, SHARE
from tbperf.comparison.noise import DEVICE, FEWEST_LARGE, HOST, INTERVAL, LARGE_SHARE, TRUST
from tbperf.comparison.recorded import CAUSE, LOG, PROFILE, STAGE, STEP, offers_log, phases_of, runs_of
from tbperf.comparison.settings import Setting, settings_of
from tbperf.errors import UsageError
from tbperf.findings.words import CAUSES, format_ms, format_share, stage_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.comparison.noise import Floats
    from tbperf.comparison.recorded import Recorded
    from tbperf.report import Report

SCHEMA = "tbperf-history/1"

DRAWS = 2000
FEWEST_RUNS = 4
"""With fewer runs, there is a before and an after, but no history."""

_SHOWN = ("step_time", "throughput", "idle", "gpu_busy")


@dataclass(frozen=True)
class HistoryRun:
    """One run.  Times are nanoseconds a step."""

    name: str
    recorded_unix_ns: int | None
    """When it was recorded; null where the recording does not tell."""
    steps: int
    source: str
    """log: of all unprofiled steps; profile: of the profiled ones; window: no steps are marked."""
    figures: Mapping[str, float]
    """step_time, throughput (images/s), idle and gpu_busy (shares); without those that the recording lacks."""
    stages: Mapping[str, float]
    causes: Mapping[str, float]
    """Idle time of the devices by cause."""
    changed: tuple[Setting, ...]
    """What was set differently in the run before (a) and this one (b)."""


@dataclass(frozen=True)
class Shift:
    """A figure that is another from one run on."""

    name: str
    """A figure, ``stage.`` and a stage, or ``cause.`` and a cause of idle time."""
    unit: str
    better: str | None
    at: int
    """Index of the first run after the shift."""
    before: float
    """Mean of the runs before; of stages: beyond what all stages of a run share."""
    after: float


@dataclass(frozen=True)
class History:
    """Runs over time.  Field names are those of the JSON."""

    tbperf: str
    verdict: tuple[str, ...]
    cautions: tuple[str, ...]
    phase: str | None
    runs: Rows[HistoryRun]
    """In the order in which they were recorded."""
    shifts: Rows[Shift]
    """The surest first; those of one run follow each other."""
    schema: str = field(default=SCHEMA)


def history_of(reports: Sequence[Report], *, phase: str | None = None) -> History:
    """Return the history of the runs that some reports are of: of one phase, by default the first that all have.

    Raises UsageError where they have none in common.
    """
    offered = [phases_of(report) for report in reports]
    common = [of for of in (offered[0] if offered else ()) if all(of in phases for phases in offered)]
    if not common or (phase is not None and phase not in common):
        lack = f"not every run has the phase {phase}" if phase else "the runs have no phase in common"
        had = [", ".join(of or "an unknown one" for of in phases) for phases in offered]
        raise UsageError(lack, f"they have {'; '.join(dict.fromkeys(had))}" if had else "name some runs")
    of = common[0] if phase is None else phase
    source = LOG if all(offers_log(report, of) for report in reports) else PROFILE
    runs = [run for report in reports for run in runs_of(report, of, source)]
    runs.sort(key=lambda run: (_when(run) is None, _when(run) or 0))
    shifts = Rows(_shifts(runs)) if len(runs) >= FEWEST_RUNS else Rows()
    rows = Rows(_row(run, before) for run, before in zip(runs, [None, *runs], strict=False))
    found = History(__version__, (), tuple(_cautions(runs)), of, rows, shifts)
    return History(__version__, tuple(_verdict(found)), found.cautions, of, rows, shifts)


def _when(run: Recorded) -> int | None:
    trace = run.traces[0]
    if trace.run is not None and trace.run.started_unix_ns is not None:
        return trace.run.started_unix_ns
    return trace.recorded_unix_ns


def _row(run: Recorded, before: Recorded | None) -> HistoryRun:
    return HistoryRun(
        name=run.name,
        recorded_unix_ns=_when(run),
        steps=run.steps,
        source=run.source,
        figures=dict(_figures(run)),
        stages=_columns(run, STAGE),
        causes=_columns(run, CAUSE),
        changed=() if before is None else settings_of(before, run),
    )


def _figures(run: Recorded) -> Iterator[tuple[str, float]]:
    for figure in FIGURES:
        try:
            if figure.name in _SHOWN:
                yield figure.name, float(figure.of(run.means))
        except (KeyError, ZeroDivisionError):  # noqa: PERF203 - the recording does not tell
            continue


def _columns(run: Recorded, prefix: str) -> dict[str, float]:
    found = {name.removeprefix(prefix): value for name, value in run.means.items() if name.startswith(prefix) and value}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _shifts(runs: Sequence[Recorded]) -> list[Shift]:
    """Return what shifted, the surest first."""
    threshold = _threshold(len(runs))
    found = [
        (sureness, Shift(name, unit, better, at, float(values[:at].mean()), float(values[at:].mean())))
        for name, unit, better, values, allowed in _series(runs)
        for sureness, at in [_strongest(values[None] / allowed)]
        if sureness > threshold
    ]
    return [shift for _, shift in sorted(found, key=lambda pair: -pair[0])]


def _strongest(values: Floats) -> tuple[float, int]:
    sureness = _sureness(values)[0]
    return float(sureness.max()), int(sureness.argmax()) + _SHORTEST


_SHORTEST = 2
"""Runs before and after a shift: one alone is an outlier."""


def _sureness(values: Floats) -> Floats:
    """Return, for each history (a row) and each cut, the distance of the means in standard deviations of it.

    Values are in units of the allowance.
    """
    runs = values.shape[1]
    before = np.arange(_SHORTEST, runs - _SHORTEST + 1)
    after = runs - before
    sums, squares = np.cumsum(values, axis=1), np.cumsum(values**2, axis=1)
    left, right = sums[:, before - 1] / before, (sums[:, -1:] - sums[:, before - 1]) / after
    within = np.maximum(squares[:, -1:] - before * left**2 - after * right**2, 0.0)
    variance = (TRUST + within) / (TRUST + runs - 2) * (1 / before + 1 / after)
    found: Floats = np.abs(right - left) / np.sqrt(variance)
    return found


def _threshold(runs: int) -> float:
    """Return what the strongest cut of a history without a shift stays below, in `INTERVAL` of all."""
    rng = np.random.default_rng(runs)
    scale = np.sqrt(TRUST / rng.chisquare(TRUST, (DRAWS, 1)))
    return float(np.quantile(_sureness(scale * rng.standard_normal((DRAWS, runs))).max(axis=1), INTERVAL))


def _series(runs: Sequence[Recorded]) -> Iterator[tuple[str, str, str | None, Floats, float]]:
    """Yield each figure over all runs: name, unit, which is better, values, and by how much they may differ."""
    give = DEVICE if all(run.on_device for run in runs) else HOST
    unrest = [run.unrest for run in runs]
    drift = float(
        np.sqrt(
            np.mean(
                [
                    give.drift**2
                    + (give.slow * one.slow) ** 2
                    + (give.scatter**2 + 1 / max(run.steps, 1)) * one.scatter**2
                    for one, run in zip(unrest, runs, strict=True)
                ]
            )
        )
    )
    step = np.array([run.means[STEP] for run in runs])
    typical = float(np.median(step))
    for figure in FIGURES:
        if figure.name in _SHOWN and all(figure.name in dict(_figures(run)) for run in runs):
            values = np.array([dict(_figures(run))[figure.name] for run in runs])
            share = figure.unit == SHARE
            allowed = (
                np.hypot(give.own * float(values.mean()), give.own_of_step) if share else drift * np.median(values)
            )
            yield figure.name, figure.unit, figure.better, values, float(allowed)
    names = dict.fromkeys(name for run in runs for name in run.means if name.startswith((STAGE, CAUSE)))
    columns = {name: np.array([run.means.get(name, 0.0) for run in runs]) for name in names}
    alike = _alike([values for name, values in columns.items() if name.startswith(STAGE)], step)
    for name, values in columns.items():
        beyond = values / alike if alike is not None and name.startswith(STAGE) else values
        middle = float(np.median(beyond))
        own = np.hypot(give.own * middle, give.own_of_step * typical)
        allowed = own if alike is not None and name.startswith(STAGE) else np.hypot(own, drift * middle)
        yield name, NS, LOW, beyond, float(allowed)


def _alike(stages: Sequence[Floats], step: Floats) -> Floats | None:
    """Return what all stages of each run took in multiples of their medians; None where too few tell."""
    large = [values for values in stages if (values > LARGE_SHARE * step).all()]
    if len(large) < FEWEST_LARGE:
        return None
    return np.asarray(np.median([values / np.median(values) for values in large], axis=0))


def _cautions(runs: Sequence[Recorded]) -> Iterator[str]:
    if len(runs) < FEWEST_RUNS:
        yield f"{len(runs)} run{'s' if len(runs) > 1 else ''}: too few to look for a shift, which takes {FEWEST_RUNS}"
    unknown = sum(_when(run) is None for run in runs)
    if unknown:
        yield f"{unknown} of them do not tell when they were recorded: they stand last, in the order given"
    hardware = [one for before, after in itertools.pairwise(runs) for one in settings_of(before, after)]
    for name in dict.fromkeys(one.name for one in hardware if one.kind == "hardware"):
        yield f"not all ran on the same hardware: {name} differs"
    if len({run.source for run in runs}) > 1:
        yield "some runs mark no steps: their figures are those of whole windows"


def _verdict(found: History) -> Iterator[str]:
    """Say what shifted where, and what was set differently there."""
    runs = found.runs
    steps = [run.figures.get("step_time", 0.0) for run in runs]
    whole = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    if not found.shifts:
        least, most = format_ms(min(steps)), format_ms(max(steps))
        told = ", which is within the noise: no figure shifted" if len(runs) >= FEWEST_RUNS else ""
        yield f"In {whole}, a step takes {least} to {most}{told}."
        return
    by_run: dict[int, list[Shift]] = {}
    for shift in found.shifts:
        by_run.setdefault(shift.at, []).append(shift)
    for at, shifts in list(by_run.items())[:_MOST_SAID]:
        run = runs[at]
        told = ", ".join(f"{_words(shift.name)} {_moved(shift)}" for shift in shifts[:_MOST_SAID])
        yield f"From {run.name} on, run {at + 1} of {len(runs)}, {told}."
        changed = [f"{one.name} {one.a or 'none'} → {one.b or 'none'}" for one in run.changed if one.kind != "profiler"]
        if changed:
            yield f"Set differently from that run on: {', '.join(changed[:_MOST_SETTINGS])}."


_MOST_SAID = 3
_MOST_SETTINGS = 6


def _words(name: str) -> str:
    titles = {figure.name: figure.title for figure in FIGURES}
    if name.startswith(STAGE):
        return stage_words(name.removeprefix(STAGE))
    return CAUSES.get(name.removeprefix(CAUSE)) or titles.get(name, name)


def _moved(shift: Shift) -> str:
    verb = "rose" if shift.after > shift.before else "fell"
    return f"{verb} from {_show(shift.before, shift.unit)} to {_show(shift.after, shift.unit)}"


def _show(value: float, unit: str) -> str:
    if unit == NS:
        return format_ms(value)
    return format_share(value) if unit == SHARE else f"{value:,.1f}"
