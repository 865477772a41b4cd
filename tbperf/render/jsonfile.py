"""The report for machines: one JSON document, whose schema `json_schema` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tbperf.comparison import Comparison
    from tbperf.history import History
    from tbperf.report import Report


def render_json(document: Report | Comparison | History) -> str:
    """Return the document, indented by two."""
    compact = msgspec.json.encode(document)
    return msgspec.json.format(compact, indent=2).decode() + "\n"
