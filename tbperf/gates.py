"""Gates for continuous integration: conditions on a report or a comparison that must not hold.

    LOADER001            a finding is there
    severity=high        a finding of at least this severity is there
    idle>30%             a figure of the run: a share of the window (of the step for stages)
    stage.loss>5ms       the same in time, a step
    throughput<100       the same as a number
    step_time>+3%        against the baseline, in comparisons: relative, and only where it is more than noise
    idle>+2pp            the same in percentage points, and in time: stage.loss>+1ms

A gate that cannot be judged, because the recording lacks what it asks for, has not passed.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tbperf.analyses.idle import CAUSES
from tbperf.comparison.figures import FIGURES, NS, SAME_SPEED, SHARE
from tbperf.comparison.recorded import (
    CAUSE,
    COUNT,
    LOG,
    NO_STAGE,
    PROFILE,
    STAGE,
    STEP,
    WINDOW,
    offers_log,
    phases_of,
    runs_of,
)
from tbperf.comparison.result import CHANGED, UNKNOWN
from tbperf.errors import UsageError
from tbperf.findings import RULES
from tbperf.findings.looked import why_blind, why_not_looked
from tbperf.findings.words import format_ms
from tbperf.trace.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tbperf.analyses import TraceReport
    from tbperf.comparison.recorded import Recorded
    from tbperf.comparison.result import Comparison, Difference
    from tbperf.report import Report

PASSED, FAILED, NOT_JUDGED = "passed", "failed", "not judged"
_WORST_FIRST = (FAILED, NOT_JUDGED, PASSED)

_CODE = re.compile(r"[A-Z]+\d+", re.IGNORECASE)
_SEVERITY = re.compile(r"severity\s*>?=\s*(?P<least>.*)", re.IGNORECASE)
_CONDITION = re.compile(
    r"(?P<name>stage\..*|[A-Za-z_][\w.]*)\s*(?P<op>[<>]=?)\s*"
    r"(?P<sign>[+\-−]?)\s*(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>%|pp|ns|us|µs|ms|s)?",
)
_OPERATORS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
_FACTORS = {"%": 0.01, "pp": 0.01, "ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, None: 1.0}
_TIMES = frozenset({"ns", "us", "µs", "ms", "s"})
_SEVERITIES = ("high", "medium", "low")

_FIGURES = {figure.name: figure for figure in FIGURES}
METRICS = (*_FIGURES, SAME_SPEED, *CAUSES)
"""Names that a condition may begin with, besides ``stage.`` and a stage."""


@dataclass(frozen=True)
class Gate:
    """One condition: a finding, a severity, or a figure and its limit."""

    text: str
    code: str | None = None
    severity: str | None = None
    name: str = ""
    op: str = ">"
    limit: float = 0.0
    unit: str | None = None
    relative: bool = False
    """Whether the limit is a change against the baseline."""


@dataclass(frozen=True)
class Judged:
    """What became of a gate."""

    gate: str
    outcome: str
    """passed, failed or not judged."""
    why: str


# Reading gates


def parse_gates(texts: Iterable[str], *, compared: bool) -> tuple[Gate, ...]:
    """Read gates; ``compared`` tells whether there is a baseline.  Raises UsageError, which says what is known."""
    return tuple(_parse(text.strip(), compared=compared) for text in texts)


def _parse(text: str, *, compared: bool) -> Gate:
    if _CODE.fullmatch(text):
        codes = [rule.code for rule in RULES]
        if text.upper() not in codes:
            raise UsageError(f"--fail-on {text}: no finding has this code", _known("codes", text.upper(), codes))
        return Gate(text, code=text.upper())
    if found := _SEVERITY.fullmatch(text):
        least = found["least"].strip().lower()
        if least not in _SEVERITIES:
            raise UsageError(f"--fail-on {text}: unknown severity", f"known severities: {', '.join(_SEVERITIES)}")
        return Gate(text, severity=least)
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(f"--fail-on {text}: not a gate", _looks_like(text))
    size = float(found["number"])
    if not math.isfinite(size):
        raise UsageError(f"--fail-on {text}: no number is that large", "give a limit that a figure can reach")
    gate = Gate(
        text,
        name=found["name"].strip(),
        op=found["op"],
        limit=(1 if found["sign"] in ("", "+") else -1) * size * _FACTORS[found["unit"]],
        unit=found["unit"],
        relative=bool(found["sign"]),
    )
    _check(gate, compared=compared)
    return gate


def _looks_like(text: str) -> str:
    """Say what gates look like, and what is probably meant by what looks like none."""
    if re.search(r"[<>=].*[,;&|\s].*[<>=]", text):
        return "give each gate a --fail-on of its own"
    if re.search(r"\d,\d", text):
        return "write numbers without commas: throughput<1000"
    if re.search(r"(?:nan|inf)", text, re.IGNORECASE):
        return "a limit is a number that a figure can reach: idle>30%"
    return "gates look like idle>30%, step_time>+3%, LOADER001, severity=high"


def _known(what: str, text: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"known {what}: {', '.join(names)}"


def _check(gate: Gate, *, compared: bool) -> None:
    if gate.name == STAGE:
        raise UsageError(
            f"--fail-on {gate.text}: the name of the stage is missing",
            f"{STAGE}NAME, such as {STAGE}dataload or {STAGE}forward; a report lists the stages of its run",
        )
    if gate.name not in METRICS and not gate.name.startswith(STAGE):
        hint = _known("metrics", gate.name.lower(), (*METRICS, f"{STAGE}NAME"))
        raise UsageError(f"--fail-on {gate.text}: unknown metric {gate.name!r}", hint)
    if gate.relative and not compared:
        hint = "`tbperf compare BASELINE RUN --fail-on …` has one; without a sign the limit is absolute"
        raise UsageError(f"--fail-on {gate.text}: there is no baseline", hint)
    if gate.name == SAME_SPEED and not gate.relative:
        raise UsageError(f"--fail-on {gate.text}: only a baseline tells", f"give a change, such as {SAME_SPEED}>+3%")
    if gate.unit not in (units := _units(gate)):
        wanted = ", ".join("no unit" if unit is None else unit for unit in units)
        raise UsageError(f"--fail-on {gate.text}: wrong unit", f"{gate.name} takes {wanted}")


def _units(gate: Gate) -> tuple[str | None, ...]:
    """Return the units that a limit may have; the most natural first."""
    times = ("ms", "s", "us", "µs", "ns")
    unit = _FIGURES[gate.name].unit if gate.name in _FIGURES else NS
    if gate.relative:
        return {SHARE: ("pp", "%"), NS: ("%", *times)}.get(unit, ("%", None))
    if unit == NS:
        return times if gate.name in _FIGURES else ("%", *times)
    return ("%",) if unit == SHARE else (None,)


# Judging


def judge_report(gates: Sequence[Gate], report: Report) -> tuple[Judged, ...]:
    """Hold a report against gates without a baseline.

    Figures are those of its main phase.  Where it holds several runs, each is judged, and the worst outcome counts.
    """
    return tuple(_judge(gate, report) for gate in gates)


def judge_comparison(gates: Sequence[Gate], found: Comparison, after: Sequence[Report]) -> tuple[Judged, ...]:
    """Hold a comparison against gates; those without a sign judge side B by itself, each of its runs."""
    return tuple(
        judged
        for gate in gates
        for judged in (
            [_unless_unread(_judge_change(gate, found), after)]
            if gate.relative
            else (_judge(gate, one) for one in after)
        )
    )


def _judge(gate: Gate, report: Report) -> Judged:
    of_findings = gate.code is not None or gate.severity is not None
    judged = _judge_findings(gate, report) if of_findings else _worst(_judge_figure(gate, report))
    return _unless_unread(judged, [report])


def _unless_unread(judged: Judged, reports: Sequence[Report]) -> Judged:
    """Return what became of a gate; none has passed where a trace could not be read."""
    count = sum(len(report.unread) for report in reports)
    if judged.outcome != PASSED or not count:
        return judged
    unread = f"{count} trace{'s' if count > 1 else ''} could not be read"
    return Judged(judged.gate, NOT_JUDGED, f"{unread}; in the others, {judged.why}")


def _worst(judged: Iterable[Judged]) -> Judged:
    return min(judged, key=lambda one: _WORST_FIRST.index(one.outcome))


def _judge_figure(gate: Gate, report: Report) -> Iterator[Judged]:
    """Judge each run of a report."""
    if not report.traces:
        yield Judged(gate.text, NOT_JUDGED, "the report holds no trace")
        return
    phase = phases_of(report)[0]
    source = LOG if offers_log(report, phase) else PROFILE
    try:
        runs = runs_of(report, phase, source)
    except UsageError as error:
        yield Judged(gate.text, NOT_JUDGED, error.message)
        return
    for run in runs:
        whose = f"{run.name}: " if len(runs) > 1 else ""
        try:
            value = _value(gate, run)
        except LookupError as error:
            yield Judged(gate.text, NOT_JUDGED, f"{whose}{error.args[0]}")
            continue
        if not math.isfinite(value):
            yield Judged(gate.text, NOT_JUDGED, f"{whose}{gate.name} is no number")
            continue
        failed = _OPERATORS[gate.op](value, gate.limit)
        yield Judged(gate.text, FAILED if failed else PASSED, f"{whose}{gate.name} is {_show(gate, value)}")


def _value(gate: Gate, run: Recorded) -> float:
    """Return the figure of one run; raises LookupError, which says why there is none."""
    if gate.unit != "%" and run.source == WINDOW:
        raise LookupError("the recording marks no steps, and this is a figure of a step")
    if gate.name in _FIGURES:
        try:
            return float(_FIGURES[gate.name].of(run.means))
        except KeyError as error:
            raise LookupError(_lacking(str(error.args[0]))) from error
    if gate.name.startswith(STAGE):
        taken, whole = _taken_by_stage(gate.name, run), STEP
    elif "window" in run.means:
        # A cause that never came up took no time.
        taken, whole = run.means.get(CAUSE + gate.name, 0.0), "window"
    else:
        raise LookupError(_lacking("window"))
    return taken / run.means[whole] if gate.unit == "%" else taken


def _lacking(column: str) -> str:
    """Say what a recording lacks that has no such column."""
    of_devices = (
        column.startswith((COUNT, CAUSE)) or column in ("window", "busy", "idle", "compute") or "exposed" in column
    )
    what = "GPU work" if of_devices else {"image": "number of images a step"}.get(column, column)
    return f"the recording has no {what}"


def _taken_by_stage(name: str, run: Recorded) -> float:
    """Return what a stage took; raises LookupError for one that the recording does not name."""
    if name in run.means:
        return run.means[name]
    if _is_recorders(name) and any(trace.run is not None or trace.phase is not None for trace in run.traces):
        return 0.0  # tbperf names it whenever it comes up, and it never did
    raise LookupError(_unknown_stage(name, run.means))


def _is_recorders(name: str) -> bool:
    return name.removeprefix(STAGE) in STAGES


def _unknown_stage(name: str, columns: Iterable[str]) -> str:
    """Say which stages there are instead, those that are called like it if there are any."""
    stages = sorted(column.removeprefix(STAGE) for column in columns if column.startswith(STAGE))
    stages = [stage for stage in stages if stage != NO_STAGE]
    if not stages:
        return f"the recording names no stages, and so not {name}"
    near = difflib.get_close_matches(name.removeprefix(STAGE), stages, n=_MOST_NAMES) or stages[:_MOST_NAMES]
    more = f" and {len(stages) - len(near)} more" if len(stages) > len(near) else ""
    return f"the recording names no {name}, but {', '.join(STAGE + stage for stage in near)}{more}"


_MOST_NAMES = 5


def _judge_findings(gate: Gate, report: Report) -> Judged:
    wanted = _SEVERITIES[: _SEVERITIES.index(gate.severity) + 1] if gate.severity else ()
    found = [f for f in report.findings if f.code == gate.code or f.severity in wanted]
    if found:
        codes = ", ".join(dict.fromkeys(f"{finding.code} ({finding.title})" for finding in found))
        return Judged(gate.text, FAILED, codes)
    if not report.traces:
        return Judged(gate.text, NOT_JUDGED, "the report holds no trace")
    code = gate.code
    why: Callable[[TraceReport], str | None] = why_blind if code is None else lambda trace: why_not_looked(code, trace)
    reasons = [why(trace) for trace in report.traces]
    if None not in reasons or (code is None and any(reasons)):
        return Judged(gate.text, NOT_JUDGED, next(reason for reason in reasons if reason))
    return Judged(gate.text, PASSED, "no such finding")


def _judge_change(gate: Gate, found: Comparison) -> Judged:
    rows = found.stages if gate.name.startswith(STAGE) else (*found.figures, *found.device_parts)
    row = next((row for row in rows if row.name == gate.name.removeprefix(STAGE)), None)
    if row is None:
        return Judged(gate.text, NOT_JUDGED, _why_no_row(gate, found))
    absolute = gate.unit != "%"
    value = row.difference if absolute else _relative(row)
    if value is None:
        return Judged(gate.text, NOT_JUDGED, f"{gate.name} was 0 before: a change in % means nothing")
    shown = f"{gate.name} changed by {_show(gate, value, signed=True)}"
    if not _OPERATORS[gate.op](value, gate.limit):
        return Judged(gate.text, PASSED, shown)
    if row.change == UNKNOWN:
        return Judged(gate.text, NOT_JUDGED, f"{shown}, but nothing tells how much of it is noise: record more steps")
    if row.change not in CHANGED:
        return Judged(gate.text, PASSED, f"{shown}, which is within the noise")
    return Judged(gate.text, FAILED, shown)


def _why_no_row(gate: Gate, found: Comparison) -> str:
    if gate.name.startswith(STAGE):
        return _unknown_stage(gate.name, [STAGE + row.name for row in found.stages])
    return f"the recordings do not tell of {gate.name}"


def _relative(row: Difference) -> float | None:
    return row.difference / row.expected if row.expected else None


def _show(gate: Gate, value: float, *, signed: bool = False) -> str:
    sign = ("+" if value >= 0 else "−") if signed else ""
    size = abs(value)
    if gate.unit in ("%", "pp"):
        return f"{sign}{100 * size:.1f} {gate.unit}"
    return f"{sign}{format_ms(size)}" if gate.unit in _TIMES else f"{sign}{size:,.1f}"
