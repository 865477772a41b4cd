"""A history for a terminal: what shifted, a line a run with its step drawn to scale, and what was set differently."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.text import Text

from tbperf.findings.words import CAUSES, format_ms, format_share
from tbperf.printable import printable
from tbperf.render.text import Page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tbperf.history import History, HistoryRun

_MARKS = "█▓▒░"
_STYLES = ("blue", "green", "magenta", "cyan")
_PARTS = len(_MARKS)
_NAME, _BAR = 28, 16
"""Columns of a name, and the fewest of a bar."""


def render_history(found: History, *, width: int = 100, color: bool = False) -> str:
    """Lay a history out for a terminal of a width."""
    page = Page(width, color=color)
    for sentence in found.verdict:
        page.line(Text(printable(sentence), "bold"))
    for caution in found.cautions:
        page.line(Text("! ", "yellow"), Text(printable(caution)))
    page.line()
    parts = _parts(found.runs)
    idle = any(run.causes for run in found.runs)
    page.line(Text("   ").join(_legend(parts, idle=idle)))
    longest = max((run.figures.get("step_time", 0.0) for run in found.runs), default=0.0)
    shifted = {shift.at for shift in found.shifts}
    for at, run in enumerate(found.runs):
        if at in shifted:
            page.line(Text("── shifts here " + "─" * 40, "yellow"))
        page.line(_line(run, parts, longest, max(_BAR, width - _TAKEN), idle=idle))
    page.line()
    settings = [
        (f"{_clip(run.name)}: {one.name}", _text(one.a), _text(one.b)) for run in found.runs for one in run.changed
    ]
    page.table("Set differently than in the run before", ("before", "now"), settings)
    return page.text()


_TAKEN = _NAME + 42
"""Columns of a line before its bar."""


def _parts(runs: Sequence[HistoryRun]) -> list[str]:
    """Return the parts of a step that are drawn: causes of idle time or, without a device, stages; largest first."""
    totals: dict[str, float] = {}
    for run in runs:
        for name, ns in _drawn(run).items():
            totals[name] = totals.get(name, 0.0) + ns
    return sorted(totals, key=lambda name: -totals[name])[:_PARTS]


def _drawn(run: HistoryRun) -> Mapping[str, float]:
    return run.causes or run.stages


def _legend(parts: Sequence[str], *, idle: bool) -> list[Text]:
    names = [(CAUSES.get(name, name) if idle else name) for name in parts]
    marks = zip(_MARKS, _STYLES, names, strict=False)
    rest = "busy" if idle else "the rest"
    return [*(Text.assemble((mark, style), f" {printable(name)}") for mark, style, name in marks), Text(f"· {rest}")]


def _line(run: HistoryRun, parts: Sequence[str], longest: float, width: int, *, idle: bool) -> Text:
    figures = run.figures
    step = figures.get("step_time", 0.0)
    when = (
        "–" if run.recorded_unix_ns is None else time.strftime("%m-%d %H:%M", time.gmtime(run.recorded_unix_ns / 1e9))
    )
    rate = f"{figures['throughput']:,.0f}/s" if "throughput" in figures else "–"
    share = format_share(figures["idle"]) if idle and "idle" in figures else ""
    line = Text(f"{_clip(run.name):{_NAME}} {when:>11} {format_ms(step):>10} {rate:>8} {share:>6}  ")
    scale = width / longest if longest else 0.0
    done, drawn = 0.0, 0
    taken = [_drawn(run).get(name, 0.0) for name in parts]
    for ns, mark, style in [*zip(taken, _MARKS, _STYLES, strict=False), (max(step - sum(taken), 0.0), "·", "dim")]:
        done += ns
        cells = max(round(min(done, step) * scale) - drawn, 0)
        line.append(mark * cells, style)
        drawn += cells
    return line


def _clip(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]


def _text(value: str | None) -> str:
    return "–" if value is None else printable(value)[:_NAME]
