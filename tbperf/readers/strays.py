"""Rows whose times cannot be: they would stretch the window to hours or decades."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tbperf.readers.bounds import DAY_NS

if TYPE_CHECKING:
    from collections import Counter

    from tbperf.trace import Table

_HOUR_NS = 3600 * 10**9
_SECOND_NS = 10**9


def drop_strays(tables: dict[str, Table], dropped: Counter[str]) -> None:
    """Leave out what began a day or more from the middle of all, or at zero on a clock that began long before."""
    starts = [table["start_ns"] for table in tables.values() if len(table)]
    if not starts:
        return
    sample = np.sort(np.concatenate([start[:: max(1, len(start) // 1000)] for start in starts]))
    middle = int(sample[len(sample) // 2])
    for name, table in tables.items():
        start = table["start_ns"]
        far = np.abs(start - middle) >= DAY_NS
        zero = (start == 0) & (abs(middle) > _HOUR_NS)
        for reason, mask in (("zero_timestamp", zero), ("stray_timestamp", far & ~zero)):
            if count := int(mask.sum()):
                dropped[reason] += count
        if (stray := zero | far).any():
            tables[name] = table.rows(~stray)


def drop_endless_work(tables: dict[str, Table], dropped: Counter[str]) -> None:
    """Leave out work of devices that ends far beyond the time in which anything started: its length ran over."""
    starts = [table["start_ns"] for table in tables.values() if len(table)]
    if not starts:
        return
    first = min(int(start.min()) for start in starts)
    last = max(int(start.max()) for start in starts)
    endless = tables["gpu"].end_ns > last + max(last - first, _SECOND_NS)
    if count := int(endless.sum()):
        dropped["overflowing_duration"] += count
        tables["gpu"] = tables["gpu"].rows(~endless)
