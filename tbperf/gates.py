"""Gates for continuous integration: conditions on a report or a comparison that must not hold.

    LOADER001            a finding is there
    severity=high        a finding of at least this severity is there
    idle>30%             a figure of the run: a share of the window (of the step for stages)
    stage.loss>5ms       the same in time, a step
    throughput<100       the same as a number
    step_time>+3%        against the baseline, in comparisons: relative, and only where it is more than noise
    idle>+2pp            the same in percentage points, and in time: stage.loss>+1ms

A gate that cannot be judged, because the recording lacks what it asks for, does not count as held.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tbperf.analyses.idle import CAUSES
from tbperf.comparison.figures import FIGURES, NS, SAME_SPEED, SHARE
from tbperf.comparison.recorded import CAUSE, LOG, PROFILE, STAGE, STEP, offers_log, phases_of, runs_of
from tbperf.comparison.repeated import Side
from tbperf.comparison.result import CHANGED, UNKNOWN
from tbperf.errors import UsageError
from tbperf.findings import RULES
from tbperf.findings.words import format_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tbperf.comparison.result import Comparison, Difference
    from tbperf.report import Report

HELD, CROSSED, NOT_JUDGED = "held", "crossed", "not judged"

_CONDITION = re.compile(
    r"(?P<name>[A-Za-z_][\w.() ]*?)\s*(?P<op>[<>]=?)\s*"
    r"(?P<sign>[+\-−]?)\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|pp|ns|us|µs|ms|s)?"
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
    """held, crossed or not judged."""
    why: str


def parse_gates(texts: Iterable[str], *, compared: bool) -> tuple[Gate, ...]:
    """Read gates; ``compared`` tells whether there is a baseline.  Raises UsageError, which lists what is known."""
    return tuple(_parse(text.strip(), compared=compared) for text in texts)


def _parse(text: str, *, compared: bool) -> Gate:
    codes = [rule.code for rule in RULES]
    if re.fullmatch(r"[A-Z]+\d+", text):
        if text not in codes:
            raise UsageError(f"--fail-on {text}: no finding has this code", f"known are {', '.join(codes)}")
        return Gate(text, code=text)
    kind, _, severity = text.partition("=")
    if kind.strip() == "severity":
        if severity.strip() not in _SEVERITIES:
            raise UsageError(f"--fail-on {text}: no such severity", f"known are {', '.join(_SEVERITIES)}")
        return Gate(text, severity=severity.strip())
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UsageError(f"--fail-on {text}: not a gate", "gates look like idle>30%, step_time>+3%, LOADER001")
    gate = Gate(
        text,
        name=found["name"],
        op=found["op"],
        limit=(1 if found["sign"] in ("", "+") else -1) * float(found["number"]) * _FACTORS[found["unit"]],
        unit=found["unit"],
        relative=bool(found["sign"]),
    )
    _check(gate, compared=compared)
    return gate


def _check(gate: Gate, *, compared: bool) -> None:
    if gate.name not in METRICS and not gate.name.startswith(STAGE):
        known = f"known are {', '.join(METRICS)} and {STAGE}NAME"
        raise UsageError(f"--fail-on {gate.text}: no figure is called {gate.name}", known)
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


def judge_report(gates: Sequence[Gate], report: Report) -> tuple[Judged, ...]:
    """Hold a report against gates without a baseline; figures are those of its main phase."""
    return tuple(_judge(gate, report) for gate in gates)


def judge_comparison(gates: Sequence[Gate], found: Comparison, after: Sequence[Report]) -> tuple[Judged, ...]:
    """Hold a comparison against gates; those without a sign judge side B by itself, each of its runs."""
    return tuple(
        judged
        for gate in gates
        for judged in ([_judge_change(gate, found)] if gate.relative else (_judge(gate, one) for one in after))
    )


def _judge(gate: Gate, report: Report) -> Judged:
    if gate.code is not None or gate.severity is not None:
        return _judge_findings(gate, report)
    if not report.traces:
        return Judged(gate.text, NOT_JUDGED, "the report holds no trace")
    phase = phases_of(report)[0]
    source = LOG if offers_log(report, phase) else PROFILE
    try:
        value = _value(gate, Side(runs_of(report, phase, source)).means)
    except UsageError as error:
        return Judged(gate.text, NOT_JUDGED, error.message)
    except KeyError as error:
        return Judged(gate.text, NOT_JUDGED, f"the recording does not tell: it has no {error.args[0]}")
    crossed = _OPERATORS[gate.op](value, gate.limit)
    return Judged(gate.text, CROSSED if crossed else HELD, f"{gate.name} is {_show(gate, value)}")


def _value(gate: Gate, means: dict[str, float]) -> float:
    if gate.name in _FIGURES:
        return float(_FIGURES[gate.name].of(means))
    if gate.name.startswith(STAGE):
        column, whole = gate.name, STEP
        if not any(name.startswith(STAGE) and name != gate.name for name in means):
            raise KeyError("stages")
    else:
        column, whole = CAUSE + gate.name, "window"
        if whole not in means:
            raise KeyError("GPU work")
    # A stage or cause that never came up took no time.
    taken = means.get(column, 0.0)
    return taken / means[whole] if gate.unit == "%" else taken


def _judge_findings(gate: Gate, report: Report) -> Judged:
    wanted = _SEVERITIES[: _SEVERITIES.index(gate.severity) + 1] if gate.severity else ()
    found = [f for f in report.findings if f.code == gate.code or f.severity in wanted]
    if not found:
        return Judged(gate.text, HELD, "no such finding")
    codes = ", ".join(dict.fromkeys(f"{finding.code} ({finding.title})" for finding in found))
    return Judged(gate.text, CROSSED, codes)


def _judge_change(gate: Gate, found: Comparison) -> Judged:
    row = next(_rows(gate, found), None)
    if row is None:
        return Judged(gate.text, NOT_JUDGED, f"the recordings do not tell of {gate.name}")
    absolute = gate.unit != "%"
    value = row.difference if absolute else _relative(row)
    if value is None:
        return Judged(gate.text, NOT_JUDGED, f"{gate.name} was 0 before: a change in % means nothing")
    shown = f"{gate.name} changed by {_show(gate, value, signed=True)}"
    if not _OPERATORS[gate.op](value, gate.limit):
        return Judged(gate.text, HELD, shown)
    if row.change == UNKNOWN:
        return Judged(gate.text, NOT_JUDGED, f"{shown}, but nothing tells how much of it is noise: record more steps")
    if row.change not in CHANGED:
        return Judged(gate.text, HELD, f"{shown}, which is within the noise")
    return Judged(gate.text, CROSSED, shown)


def _relative(row: Difference) -> float | None:
    return row.difference / row.expected if row.expected else None


def _rows(gate: Gate, found: Comparison) -> Iterator[Difference]:
    rows = found.stages if gate.name.startswith(STAGE) else (*found.figures, *found.device_parts)
    yield from (row for row in rows if row.name == gate.name.removeprefix(STAGE))


def _show(gate: Gate, value: float, *, signed: bool = False) -> str:
    sign = ("+" if value >= 0 else "−") if signed else ""
    size = abs(value)
    if gate.unit in ("%", "pp"):
        return f"{sign}{100 * size:.1f} {gate.unit}"
    return f"{sign}{format_ms(size)}" if gate.unit in _TIMES else f"{sign}{size:,.1f}"
