"""A comparison for a terminal: what changed and why, the tables, and what the two sides were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from tbperf.comparison.figures import FIGURES, NS, SAME_SPEED, SHARE
from tbperf.comparison.recorded import LOG
from tbperf.comparison.result import ADDED, CHANGED, GONE, LESS, MORE, NOISE, UNKNOWN
from tbperf.comparison.verdict import part_words
from tbperf.findings.words import CAUSES, format_ms
from tbperf.printable import printable
from tbperf.render.text import Page, kernel_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tbperf.comparison.result import Comparison, Difference, SideSummary, WorkDifference

TITLES = {figure.name: figure.title for figure in FIGURES} | {SAME_SPEED: "  at the same speed"}

SORTS = {
    "kernel": "Kernels",
    "family": "Kernels by family",
    "operator": "Operators, own time",
    "operator with shapes": "Operators by shapes",
}
"""Headings of the tables of work, in the order in which they are shown."""

_WORDS = {NOISE: "noise", UNKNOWN: "noise unknown", ADDED: "new", GONE: "gone"}
_NAME = 48


def render_comparison(
    found: Comparison, *, width: int = 100, color: bool = False, top: int = 5, details: bool = False
) -> str:
    """Lay a comparison out for a terminal: so many rows of each table, changes first; with details, all of them."""
    page = Page(width, color=color)
    for sentence in found.verdict:
        page.line(Text(printable(sentence), "bold"))
    for caution in found.cautions:
        page.line(Text("! ", "yellow"), Text(printable(caution)))
    page.line()
    for title, headings, rows in tables(found, top=None if details else top):
        page.table(title, headings, rows)
    for name, side in (("A", found.a), ("B", found.b)):
        page.line(f"{name}: {printable(describe(side, found.source))}")
    if any(row.low is not None for row in found.figures):
        whole = f"{100 * found.interval:.0f} %"
        page.line(f"{whole} of repeated recordings would lie in the intervals; one that holds 0 is noise.")
    if not details:
        page.line(Text("More: --details, --format json", "dim"))
    return page.text()


def describe(side: SideSummary, source: str) -> str:
    """Say in a line what a side is."""
    steps = f"{side.steps:,} {'unprofiled' if source == LOG else 'profiled'} steps" if side.steps else "no steps marked"
    runs = side.runs[0] if len(side.runs) == 1 else f"{side.runs[0]} and {len(side.runs) - 1} more runs"
    return f"{runs} · {steps}" + (f" · {side.images:g} images a step" if side.images else "")


_TableRows = list[tuple[str, ...]]


def tables(found: Comparison, top: int | None) -> Iterator[tuple[str, Sequence[str], _TableRows]]:
    """Yield the tables: title, headings, rows; at most so many of the long ones, all without a limit."""
    spread = f"{100 * found.interval:.0f} % interval"
    figures = [row for row in found.figures if (row.a or row.b) and (row.name != SAME_SPEED or found.alike != 1)]
    yield "Figures", ("A", "B", "change %", spread, ""), [_figure_row(row) for row in figures]
    per = {"step": "a step", "image": "an image", "window": "in the window"}[found.per]
    ms = (f"A, ms {per}", "B", "%", "ms", spread, "")
    most = None if top is None else top + 4
    yield "Stages on the host", ms, [_part_row(row.name, row) for row in _shown(found.stages, most)]
    device = [_part_row(part_title(row.name), row) for row in _shown(found.device_parts, most)]
    yield "The GPU's time", ms, device
    yield "GPU work by stage", ms, [_part_row(row.name, row) for row in _shown(found.device_work, top)]
    for sort, title in SORTS.items():
        of_sort = [row for row in found.work if row.sort == sort]
        shown = of_sort if top is None else [row for row in of_sort if row.change in CHANGED][:top]
        yield (
            f"Changed {title[:1].lower()}{title[1:]}" if top else title,
            (*ms[:-1], "calls", ""),
            [_work_row(row) for row in shown],
        )
    measured: _TableRows = [(one.series, f"{one.a:,.4g}", f"{one.b:,.4g}") for one in found.hardware]
    yield "Hardware, mean", ("A", "B"), measured[:most]
    settings: _TableRows = [(f"{one.kind} {one.name}", _clip(one.a), _clip(one.b)) for one in found.settings]
    yield "Set differently", ("A", "B"), settings[:most]


def part_title(name: str) -> str:
    """Name a part of the device's time in a table."""
    return CAUSES.get(name) or part_words(name)


def _shown(rows: Sequence[Difference], most: int | None) -> Sequence[Difference]:
    """Choose what is worth a line: what changed, and the largest of the rest."""
    if most is None:
        return rows
    changed = [row for row in rows if row.change in CHANGED]
    rest = sorted((row for row in rows if row.change not in CHANGED), key=lambda row: -max(row.a or 0.0, row.b or 0.0))
    return [*changed, *rest][:most]


def _figure_row(row: Difference) -> tuple[str, ...]:
    a, b = ("–" if value is None else _show(value, row.unit) for value in (row.a, row.b))
    change, low, high = (_percent(value, row.expected) for value in (row.difference, row.low, row.high))
    return TITLES[row.name], a, b, change, "–" if row.low is None else f"{low} … {high}", _word(row)


def _part_row(title: str, row: Difference) -> tuple[str, ...]:
    return printable(title), *_times(row.a, row.b, row.expected, row.difference, row.low, row.high), _word(row)


def _work_row(row: WorkDifference) -> tuple[str, ...]:
    times = _times(row.a_ns, row.b_ns, row.expected_ns, row.difference_ns, row.low_ns, row.high_ns)
    calls = [f"{number:.0f}" for number in (row.a_calls, row.b_calls) if number is not None]
    name = kernel_name(row.name, _NAME) if row.sort == "kernel" else printable(row.name)
    word = _WORDS.get(row.change, "slower" if row.change == MORE else "faster")
    return (
        name,
        *times,
        " → ".join(dict.fromkeys(calls)) or "–",
        f"{word} {printable(row.shapes or row.stage or '')}".strip(),
    )


def _times(  # noqa: PLR0913, PLR0917 - a difference of either sort
    a: float | None, b: float | None, expected: float, difference: float, low: float | None, high: float | None
) -> tuple[str, ...]:
    """Show both sides, the change in % and ms, and its interval in ms."""
    spread = "–" if low is None or high is None else f"{_signed(low)} … {_signed(high)}"
    return _ms(a), _ms(b), _percent(difference, expected), _signed(difference), spread


def _percent(change: float | None, expected: float) -> str:
    if change is None or not expected:
        return "–"
    share = change / expected
    return f"{100 * share:+.{1 if abs(share) < 1 else 0}f}".replace("-", "−")


def _signed(ns: float) -> str:
    return ("−" if ns < 0 else "+") + _ms(abs(ns))


def _word(row: Difference) -> str:
    if row.change in (LESS, MORE) and row.better is not None:
        return "better" if (row.change == LESS) == (row.better == "low") else "worse"
    return _WORDS.get(row.change, row.change)


def _ms(ns: float | None) -> str:
    return "–" if ns is None else format_ms(ns).removesuffix(" ms")


def _show(value: float, unit: str) -> str:
    if unit == NS:
        return format_ms(value)
    return f"{100 * value:.1f} %" if unit == SHARE else f"{value:,.1f}"


def _clip(text: str | None, length: int = 32) -> str:
    text = "–" if text is None else printable(text)
    return text if len(text) <= length else text[: length - 1] + "…"
