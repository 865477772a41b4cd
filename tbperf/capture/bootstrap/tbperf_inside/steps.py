"""The log of all steps, profiled or not: one JSON line a step, always on."""

from __future__ import annotations

import json
import os
import time
from typing import Any

_FLUSH_EVERY_NS = 1_000_000_000


class StepLog:
    """Collects rows and writes them about once a second: cheap, and a kill loses little."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        self._flushed_ns = time.perf_counter_ns()

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of one step."""
        self._rows.append(row)
        if time.perf_counter_ns() - self._flushed_ns > _FLUSH_EVERY_NS:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        self._flushed_ns = time.perf_counter_ns()
        if self._rows:
            lines = "".join(json.dumps(row) + "\n" for row in self._rows)
            self._rows.clear()
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(lines)


def step_log_path(folder: str, process: str) -> str:
    """Return where the process named ``process`` (``1234`` or ``1234_rank0``) logs its steps."""
    return os.path.join(folder, f"steps.{process}.jsonl")
