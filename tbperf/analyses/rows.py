"""What an analysis is allowed to say: rows, or why it could not look."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import pandas as pd

RowT = TypeVar("RowT")


class Rows(tuple[RowT, ...]):
    """Frozen rows of one sort, dearest first where they have a cost."""

    __slots__ = ()

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with a column a field; empty without rows."""
        import pandas as pd  # noqa: PLC0415 - half a second that only users of data frames pay

        return pd.DataFrame([asdict(row) for row in self])  # type: ignore[call-overload]


@dataclass(frozen=True)
class Skipped:
    """An analysis could not look.  Never to be confused with «all is well»."""

    analysis: str
    reason: str
