"""Texts without paths, and the account of what was taken out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

_HOME = r"(?:home|Users|export/home|scratch)[\\/]+[^\\/:;\"'\n]+"
_PART = r"[^\s\\/:;,'\"()<>|*?=\[\]{}]+"
_PATH = re.compile(
    rf"(?<![\w.\\/~*)\]>])(?:file:[\\/]{{2}})?(?:~\w*|[A-Za-z]:)?[\\/]+(?:{_HOME}|{_PART})(?:[\\/]+{_PART})*[\\/]*"
)
"""An absolute path: from the root, a drive or a home.  A slash inside of a name (tbperf/forward) begins none."""

_KEPT = re.compile(r"(?:.*[\\/])?(?:(?:site|dist)-packages|python\d[\d.]*)[\\/]+(?P<rest>.+)")
"""Of a file in a package, the package is no secret and tells what ran."""


@dataclass
class Removed:
    """What a copy lacks."""

    paths: int = 0
    """Paths in texts, cut down."""
    tables: list[str] = field(default_factory=list)
    """Tables that are not copied."""
    foreign_rows: int = 0
    """Rows of other processes."""
    strings: int = 0
    """Registered strings that nothing copied refers to: environments, output, other programs' names."""
    metadata: list[str] = field(default_factory=list)
    """Entries of the metadata."""
    columns: Counter[str] = field(default_factory=Counter)
    """Values in columns that are not copied, by column."""

    def lines(self) -> list[str]:
        """Say it, line by line."""
        columns = ", ".join(f"{name} ({count:,})" for name, count in sorted(self.columns.items()))
        facts = (
            (self.paths, f"paths cut down: {self.paths:,}"),
            (self.tables, f"tables: {', '.join(sorted(self.tables))}"),
            (self.foreign_rows, f"rows of other processes: {self.foreign_rows:,}"),
            (self.strings, f"strings that nothing copied refers to: {self.strings:,}"),
            (self.metadata, f"metadata: {', '.join(sorted(self.metadata))}"),
            (self.columns, f"columns: {columns}"),
        )
        return [line for there, line in facts if there]

    def cut(self, text: str) -> str:
        """Return a text with paths cut down, and count them."""

        def shorter(match: re.Match[str]) -> str:
            self.paths += 1
            path = match[0].rstrip("\\/")
            kept = _KEPT.fullmatch(path)
            return kept["rest"] if kept else re.split(r"[\\/]", path)[-1] if not _IS_HOME.fullmatch(path) else "~"

        return _PATH.sub(shorter, text)


_IS_HOME = re.compile(rf"(?:.*[\\/])?{_HOME}|~\w*")
