"""What an analysis is allowed to say: rows, or why it could not look."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from tbperf.intervals import Ns

RowT = TypeVar("RowT")

MOST_ROWS = 10_000
"""A list of a report holds no more, but for the steps; what a program does in more ways than that nobody reads."""


class Rest(NamedTuple):
    """Rows that a list does not hold, and what they cost together."""

    rows: int
    cost: int


class Rows(tuple[RowT, ...]):  # noqa: SLOT001 - a tuple with something beside it has no slots
    """Frozen rows of one sort, dearest first where they have a cost."""

    rest: Rest | None = None
    """What was left out because there was too much of it."""

    @classmethod
    def dearest(cls, row_of: Callable[[int], RowT], cost: Ns) -> Rows[RowT]:
        """Make rows of the dearest of what an array tells the costs of; a function makes the row of a place in it."""
        order = np.argsort(-cost, kind="stable")
        kept, left = order[:MOST_ROWS], order[MOST_ROWS:]
        return cls._with_rest(map(row_of, kept.tolist()), Rest(left.size, int(cost[left].sum())))

    @classmethod
    def first(cls, rows: Iterable[RowT], cost: Callable[[RowT], int]) -> Rows[RowT]:
        """Keep the first of some rows; a function tells their costs."""
        every = list(rows)
        return cls._with_rest(every[:MOST_ROWS], Rest(len(every[MOST_ROWS:]), sum(map(cost, every[MOST_ROWS:]))))

    @classmethod
    def _with_rest(cls, rows: Iterable[RowT], rest: Rest) -> Rows[RowT]:
        found = cls(rows)
        if rest.rows:
            found.rest = rest
        return found

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a column a field; empty without rows."""
        import pandas as pd  # noqa: PLC0415 - half a second that only users of data frames pay

        return pd.DataFrame([asdict(row) for row in self])  # type: ignore[call-overload]


@dataclass(frozen=True)
class LeftOut:
    """What a list of a report does not hold row by row, because there is too much of it."""

    table: str
    """Name of the list."""
    rows: int
    cost: int
    """Of these rows together, in what the list is sorted by."""
    unit: str
    """``ns`` or ``B``."""
    counted_in: str | None = None
    """Row of the list that holds them all the same; null where none does."""


@dataclass(frozen=True)
class Skipped:
    """An analysis could not look.  Never to be confused with «all is well»."""

    analysis: str
    reason: str
