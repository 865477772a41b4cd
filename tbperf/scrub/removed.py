"""The account of what a copy lacks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Removed:
    """What a copy lacks, or says in other words."""

    names: int = 0
    """Distinct names that were replaced, in whole or in part."""
    meanings: int = 0
    """Of these, names that the analyses may read differently now."""
    entries: Counter[str] = field(default_factory=Counter)
    """What was left out, by what it was: arguments of events, entries of the metadata, columns, rows, files …"""

    def lines(self) -> list[str]:
        """Say it, line by line."""
        found = []
        if self.names:
            found.append(f"names replaced by pseudonyms: {self.names:,}")
        if self.meanings:
            found.append(f"names that may count as something else now: {self.meanings:,}")
        left_out = ", ".join(f"{count:,} {what}" for what, count in sorted(self.entries.items()) if count)
        return [*found, f"left out: {left_out}"] if left_out else found
