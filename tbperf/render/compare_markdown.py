"""A comparison as Markdown, for pull requests: the verdict, what changed, and the rest folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tbperf.render.compare_text import describe, tables
from tbperf.render.markdown import markdown_prose, markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tbperf.comparison.result import Comparison

_OPEN = ("Figures", "Set differently")


def render_comparison_markdown(found: Comparison, *, top: int = 5) -> str:
    """Return GitHub's Markdown, with so many rows in each table."""
    lines = [f"**{markdown_prose(found.verdict[0])}**", *map(markdown_prose, found.verdict[1:])]
    lines += ["", *(f"> ⚠ {markdown_prose(caution)}  " for caution in found.cautions)]
    shown = [table for table in tables(found, top) if table[2]]
    for title, headings, rows in shown:
        if title in _OPEN:
            lines += ["", *_table(title, headings, rows)]
    lines += ["", "<details><summary>Stages, kernels, operators</summary>"]
    for title, headings, rows in shown:
        if title not in _OPEN:
            lines += ["", *_table(title, headings, rows)]
    lines += ["", "</details>", ""]
    lines += [
        f"{name}: {markdown_prose(describe(side, found.source))}  " for name, side in (("A", found.a), ("B", found.b))
    ]
    lines += ["", f"<sub>tbperf {found.tbperf}</sub>"]
    return "\n".join(lines) + "\n"


def _table(title: str, headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = [tuple(map(markdown_prose, row)) for row in rows]
    return list(markdown_table((title, *headings), cells))
