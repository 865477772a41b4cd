"""The report as Markdown, for pull requests and issues: verdict, findings with advice, the top of each table."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from tbperf.findings.trust import about_left_out, about_profiling
from tbperf.findings.words import CAUSES, WORK, format_bytes, format_ms, format_share
from tbperf.printable import printable
from tbperf.render.text import kernel_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.analyses import TraceReport
    from tbperf.findings import Finding
    from tbperf.report import Report

_OWNERS = (
    ("kernels", "compute_ns"),
    ("collectives", "exposed_comm_ns"),
    ("copies", "exposed_memcpy_ns"),
    ("memsets", "exposed_memset_ns"),
    ("idle", "idle_ns"),
)


def render_markdown(report: Report, *, top: int = 5) -> str:
    """Return GitHub's Markdown, with so many rows in each table."""
    lines = [f"**{markdown_prose(report.verdict[0])}**" if report.verdict else "**Nothing to report.**", ""]
    lines += [markdown_prose(sentence) for sentence in report.verdict[1:]]
    if report.cautions:
        lines += ["", *(f"> ⚠ {markdown_prose(caution)}  " for caution in report.cautions[:_CAUTIONS])]
        if len(report.cautions) > _CAUTIONS:
            lines.append(f"> … and {len(report.cautions) - _CAUTIONS} more")
    for number, trace in enumerate(report.traces):
        lines += ["", f"### {_heading(trace)}", ""]
        lines += _time(trace)
        findings = [f for f in report.findings if f.trace == number]
        lines += _findings(findings, trace, top)
        details = [
            *_idle(trace, top),
            *_stages(trace, top + 4),
            *_work(trace, top + 1),
            *_kernels(trace, top),
            *_operators(trace, top),
        ]
        if details:
            lines += [
                "",
                "<details><summary>Causes, stages, work, kernels, operators</summary>",
                "",
                *details,
                "",
                "</details>",
            ]
        lines += ["", *_seen(trace)]
    lines += ["", f"<sub>tbperf {report.tbperf}</sub>"]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


_CAUTIONS = 5


def _heading(trace: TraceReport) -> str:
    gpus = [gpu.name for gpu in trace.gpus if gpu.device in {row.device for row in trace.devices}]
    parts = [trace.phase or "", f"rank {trace.rank}" if trace.rank is not None else "", *dict.fromkeys(gpus)]
    if not trace.devices:
        parts.append("CPU")
    if trace.steps:
        mean = sum(step.dur_ns for step in trace.steps) / len(trace.steps)
        parts.append(f"{len(trace.steps)} step{'s' if len(trace.steps) > 1 else ''} of {format_ms(mean)}")
    return " · ".join(markdown_prose(part) for part in parts if part)


def _time(trace: TraceReport) -> Iterator[str]:
    rows = [
        (
            f"GPU {device.device}",
            format_ms(device.window_ns),
            *(
                f"{format_ms(getattr(device, key))} ({format_share(getattr(device, key) / max(1, device.window_ns))})"
                for _, key in _OWNERS
            ),
        )
        for device in trace.devices
    ]
    yield from markdown_table(("", "window", *(name for name, _ in _OWNERS)), rows)
    if (profiling := about_profiling(trace)) is not None:
        yield from ("", profiling)


def _findings(findings: Sequence[Finding], trace: TraceReport, top: int) -> Iterator[str]:
    if not findings:
        yield from ("", "No findings above the noise.")
        return
    steps = max(1, len(trace.steps))
    per = " a step" if len(trace.steps) > 1 else ""
    rows = []
    for found in findings[: top + 1]:
        gain = "–"
        if found.gain:
            low = f"{format_ms(found.gain.low_ns / steps)} to " if found.gain.low_ns else "up to "
            gain = f"{low}{format_ms(found.gain.high_ns / steps)}{per}"
        cost = f"{format_ms(found.cost_ns / steps)}{per} ({format_share(found.cost_share)})" if found.cost_ns else "–"
        rows.append(
            (f"{_MARKS[found.severity]} {found.code} {markdown_prose(found.title)}", cost, gain, _advice(found))
        )
    yield from ("", *markdown_table(("finding", "costs", "could save", "change"), rows))
    if hidden := findings[top + 1 :]:
        yield from ("", f"… and {len(hidden)} more: {', '.join(dict.fromkeys(found.code for found in hidden))}")


_MARKS = {"high": "🔴", "medium": "🟠", "low": "⚪", "info": "ℹ️"}


def _advice(found: Finding) -> str:
    parts = []
    for advice in found.advice[:2]:
        if advice["argument"] is None:
            parts.append(markdown_prose(advice["action"]))
        else:
            joint = " " if advice["argument"].startswith("-") else "="
            to = "" if advice["to"] is None else f"{joint}{advice['to']}"
            parts.append(_code(f"{advice['argument']}{to}"))
    return "; ".join(parts)


def _idle(trace: TraceReport, top: int) -> Iterator[str]:
    windows = {device.device: max(1, device.window_ns) for device in trace.devices}
    on = len(trace.devices) > 1
    rows = [
        (
            CAUSES.get(row.cause, row.cause) + (f", GPU {row.device}" if on else ""),
            format_ms(row.idle_ns),
            format_share(row.idle_ns / windows[row.device]),
            f"{row.gaps:,}",
            format_ms(row.longest_ns),
        )
        for row in trace.idle[: top + 1]
    ]
    yield from ("", *markdown_table(("The GPU is", "time", "of the window", "gaps", "longest"), rows))


def _stages(trace: TraceReport, top: int) -> Iterator[str]:
    if not any(row.stage for row in trace.stages):
        return
    steps = max(1, len(trace.steps))
    per = " a step" if trace.steps else ""
    rows = [
        (
            _code(row.stage) if row.stage else "no stage",
            format_ms(row.host_ns / steps),
            format_share(row.share),
            format_ms(row.gpu_ns / steps) if row.gpu_ns is not None else "–",
            format_ms(row.idle_ns / steps) if row.idle_ns is not None else "–",
        )
        for row in trace.stages[:top]
    ]
    yield from ("", *markdown_table(("Stage", f"host{per}", "share", "GPU work", "GPU idle"), rows))


def _work(trace: TraceReport, top: int) -> Iterator[str]:
    if trace.devices:
        return
    steps = max(1, len(trace.steps))
    per = " a step" if trace.steps else ""
    rows = [(WORK[row.work], format_ms(row.host_ns / steps), format_share(row.share)) for row in trace.host_work[:top]]
    yield from ("", *markdown_table(("The host is in", f"time{per}", "share"), rows))


def _kernels(trace: TraceReport, top: int) -> Iterator[str]:
    rows = [
        (_code(kernel_name(row.name, 64)), format_ms(row.total_ns), format_share(row.share), f"{row.calls:,}")
        for row in trace.kernels[:top]
    ]
    yield from ("", *markdown_table(("Kernel", "time", "of all kernels", "calls"), rows))
    copies = [
        (
            f"{row.copy_kind or 'copy'} {row.host_memory or ''}".strip(),
            format_ms(row.total_ns),
            format_ms(row.exposed_ns),
            f"{row.calls:,}",
            format_bytes(row.bytes) if row.bytes is not None else "–",
        )
        for row in trace.memcpy[:top]
    ]
    yield from ("", *markdown_table(("Copy", "time", "exposed", "calls", "size"), copies))


def _operators(trace: TraceReport, top: int) -> Iterator[str]:
    rows = [
        (_code(row.name[:80]), format_ms(row.self_ns), format_share(row.share), f"{row.calls:,}")
        for row in trace.operators[:top]
    ]
    yield from ("", *markdown_table(("Operator", "own time", "share", "calls"), rows))


def _seen(trace: TraceReport) -> Iterator[str]:
    dropped = "".join(f"; {count:,} dropped ({reason.replace('_', ' ')})" for reason, count in trace.dropped.items())
    cut = "; the file is cut short" if trace.truncated else ""
    yield f"Seen: {trace.events:,} events{dropped}{cut}."
    unseen = dict.fromkeys(markdown_prose(skipped.reason) for skipped in trace.skipped)
    if unseen:
        yield f"Not seen: {'; '.join(unseen)}."
    left_out = [markdown_prose(what) for what in about_left_out(trace)]
    if left_out:
        yield f"Left out: {'; '.join(left_out)}."
    for note in trace.notes:
        yield f"Note: {markdown_prose(note)}."


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose cells are Markdown: the first column of words, the others of figures."""
    if not rows:
        return
    yield f"| {' | '.join(headings)} |"
    yield f"|{'|'.join([' :-- ', *[' --: '] * (len(headings) - 1)])}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


_MARKUP = re.compile(r"([\\`*_\[\]|~#@])")


_LINK = re.compile(r"((?:\b(?:https?|ftp|file|mailto|xmpp|data|javascript):)|\bwww(?=\.))", re.IGNORECASE)
"""How an address begins that renderers turn into a link."""
_NOTHING = "\u200b"
"""A space of no width: it parts what would be read together."""


def markdown_prose(text: str) -> str:
    """Show text that may come from a trace as itself: no markup, no HTML, no link, no mention of anybody."""
    escaped = _MARKUP.sub(r"\\\1", html.escape(printable(text), quote=False))
    return _LINK.sub(rf"\1{_NOTHING}", escaped.replace("\\@", f"@{_NOTHING}"))


def _code(text: str) -> str:
    """Show a name as code; what would end the code or the cell is replaced."""
    return "`" + printable(text).replace("`", "'").replace("|", "\\|") + "`"
