"""The report in a page of Markdown, for TensorBoard's Text dashboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tbperf.findings.words import CAUSES, format_ms, format_share, stage_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.analyses import TraceReport
    from tbperf.findings import Finding
    from tbperf.report import Report

_MOST_ROWS = 10


def render_markdown(report: Report) -> str:
    """Return the verdict, where the time went, and the findings."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    for sentence in report.verdict:
        yield f"**{_text(sentence)}**\n" if sentence == report.verdict[0] else f"{_text(sentence)}\n"
    for caution in report.cautions:
        yield f"> {_text(caution)}\n"
    yield "## Findings\n"
    if report.findings:
        yield from _table(("code", "finding", "severity", "costs", "could gain", "try"), map(_finding, report.findings))
    else:
        yield "Nothing above the noise.\n"
    for trace in report.traces:
        yield from _about(trace)
    if report.skipped:
        yield "## Not seen\n"
        yield from (f"- {_text(reason)}" for reason in dict.fromkeys(skipped.reason for skipped in report.skipped))


def _finding(finding: Finding) -> tuple[str, ...]:
    gain = "" if finding.gain is None else f"{format_ms(finding.gain.low_ns)} to {format_ms(finding.gain.high_ns)}"
    advice = finding.advice[0] if finding.advice else None
    action = ""
    if advice is not None:
        action = advice["action"]
        if advice["argument"] is not None and advice["to"] is not None:
            action += f" ({advice['argument']}={advice['to']})"
    cost = f"{format_ms(finding.cost_ns)}, {format_share(finding.cost_share)}"
    return finding.code, finding.title, finding.severity, cost, gain, action


def _about(trace: TraceReport) -> Iterator[str]:
    where = [trace.phase or "", "" if trace.rank is None else f"rank {trace.rank}"]
    yield f"## {_text(' · '.join(word for word in where if word) or 'Where the time went')}\n"
    for device in trace.devices:
        shares = (
            ("kernels", device.compute_ns),
            ("collectives", device.exposed_comm_ns),
            ("copies", device.exposed_memcpy_ns),
            ("memsets", device.exposed_memset_ns),
            ("idle", device.idle_ns),
        )
        rows = [(name, format_ms(ns), format_share(ns / device.window_ns)) for name, ns in shares if ns]
        yield from _table((f"GPU {device.device}", "time", "share"), rows)
        causes = [row for row in trace.idle if row.device == device.device]
        rows = [
            (CAUSES.get(row.cause, row.cause), format_ms(row.idle_ns), format_share(row.idle_ns / device.window_ns))
            for row in causes[:_MOST_ROWS]
        ]
        if rows:
            yield from _table(("why it idles", "time", "share"), rows)
    rows = [(stage_words(row.stage), format_ms(row.host_ns), format_share(row.share)) for row in trace.stages]
    if rows:
        yield from _table(("stage, on the host", "time", "share"), rows[:_MOST_ROWS])
    rows = [(row.name, format_ms(row.total_ns), format_share(row.share)) for row in trace.kernels[:_MOST_ROWS]]
    if rows:
        yield from _table(("kernel", "time", "share"), rows)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(map(_text, head)) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(map(_text, row)) + " |" for row in rows)
    yield ""


_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def _text(text: str) -> str:
    """Keep text what it is: no markup, no HTML, no line breaks."""
    plain = _CONTROL.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", plain)
