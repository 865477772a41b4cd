"""Ask every rule, and order what they say by what could be recovered."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tbperf.findings.finding import Evidence, Finding, Gain, window_ns
from tbperf.findings.thresholds import HIGH, MEDIUM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tbperf.analyses.examine import TraceReport
    from tbperf.analyses.ranks import Rank
    from tbperf.findings.finding import Advice, Place

CODES = (
    "LOADER001",
    "LOADER002",
    "LOADER003",
    "LOADER004",
    "SYNC001",
    "SYNC002",
    "COPY001",
    "COPY002",
    "COPY003",
    "COPY004",
    "COPY005",
    "LAUNCH001",
    "LAUNCH002",
    "HOST001",
    "KERNEL001",
    "KERNEL002",
    "KERNEL003",
    "KERNEL004",
    "KERNEL005",
    "ALLOC001",
    "COMPILE001",
    "COMM001",
    "COMM002",
    "MEM001",
    "MEM002",
    "HW001",
    "HW002",
    "HW003",
    "HW004",
    "CPU001",
    "CPU002",
    "CPU003",
    "CPU004",
    "STAGE001",
    "STAGE002",
    "STAGE003",
    "PREDICT001",
    "PREDICT002",
    "PROFILE001",
    "PROFILE002",
    "PROFILE003",
)


class Saying(NamedTuple):
    """What a rule says of one device, or of the host."""

    cost_ns: int
    evidence: Sequence[Evidence]
    advice: Sequence[Advice]
    device: int | None = None
    gain: Gain | None = None
    confidence: str = "high"
    severity: str | None = None
    """By the share of the window, unless said here."""
    title: str | None = None
    """Where it says more than the rule's own."""
    places: Sequence[Place] = ()
    """Where on the timeline to look."""
    beside_ns: int = 0
    """Part of the cost that the run bears beside what is recorded; the cost is a share of the window and this."""


@dataclass(frozen=True)
class Rule:
    """One rule: a code, a title, a page, and the function that looks at a trace."""

    code: str
    title: str
    page: str
    """Markdown."""
    find: Callable[[TraceReport], Iterator[Saying]]
    find_late: Callable[[TraceReport, Rank, Sequence[Rank]], Iterator[Saying]] | None = None
    """Looks at a rank that others wait for, beside the others."""


def _load(code: str) -> Rule:
    module = importlib.import_module(f"tbperf.findings.rules.{code.lower()}")
    title, _, page = (module.__doc__ or "").partition("\n")
    return Rule(code, title.strip().rstrip("."), page.strip() + "\n", module.find, getattr(module, "find_late", None))


RULES = tuple(map(_load, CODES))


def diagnose(traces: Sequence[TraceReport], ranks: Sequence[Rank] = ()) -> tuple[Finding, ...]:
    """Return what the rules find, ordered by what could be recovered, dearest first."""
    late = [rank for rank in ranks if rank.awaited_ns]
    found = [
        _finding(rule, trace, number, saying)
        for number, trace in enumerate(traces)
        for rule in RULES
        for saying in rule.find(trace)
        if saying.cost_ns > 0 or saying.severity == "info"
    ]
    found += [
        _finding(rule, trace, number, saying)
        for number, trace in enumerate(traces)
        for rank in late
        if (rank.rank, rank.phase) == (trace.rank, trace.phase)
        for rule in RULES
        if rule.find_late is not None
        for saying in rule.find_late(trace, rank, ranks)
    ]
    return tuple(sorted(found, key=_recoverable, reverse=True))


def _finding(rule: Rule, trace: TraceReport, number: int, saying: Saying) -> Finding:
    window = window_ns(trace, saying.device) + saying.beside_ns
    gain = saying.gain
    recoverable = (gain.high_ns if gain else saying.cost_ns) / window
    severity = "high" if recoverable >= HIGH else "medium" if recoverable >= MEDIUM else "low"
    return Finding(
        code=rule.code,
        title=saying.title or rule.title,
        severity=saying.severity or severity,
        trace=number,
        rank=trace.rank,
        phase=trace.phase,
        device=saying.device,
        cost_ns=saying.cost_ns,
        cost_share=saying.cost_ns / window,
        gain=gain,
        confidence=saying.confidence,
        evidence=tuple(saying.evidence),
        advice=tuple(saying.advice),
        places=tuple(saying.places),
        page=f"docs/findings/{rule.code}.md",
    )


_SEVERITIES = ("info", "low", "medium", "high")


def _recoverable(finding: Finding) -> tuple[int, int, int]:
    """Order by severity, then by what could be saved."""
    saved = finding.gain.high_ns if finding.gain else finding.cost_ns
    return _SEVERITIES.index(finding.severity), saved, finding.cost_ns
